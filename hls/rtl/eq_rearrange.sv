// The elements of a frame in another order: output element e, in NCHW order, has the digits of e in base Sizes; the sum of the
// digits times Strides is the input element. It stores two frames in registers: not for large images.
// Latency 2 cycles from the last beat; a frame takes as many cycles as the larger of its input and output beats.
module eq_rearrange #(
  /// Bits of an element.
  parameter int unsigned Bits = 8,
  /// Channels of the input.
  parameter int unsigned InChannels = 1,
  /// Pixels of the input.
  parameter int unsigned InPixels = 1,
  /// Pixels of the input a beat, the first lowest.
  parameter int unsigned Beat = 1,
  /// Channels of the output.
  parameter int unsigned OutChannels = 1,
  /// Pixels of the output.
  parameter int unsigned OutPixels = 1,
  /// Axes of the order, 15 at most.
  parameter int unsigned Rank = 1,
  /// Size of each axis of the output, 32 bits each, the last axis lowest. Bit 511 is set.
  parameter logic [511:0] Sizes = {1'b1, 511'd1},
  /// Distance in the input of two neighbours along each axis, 32 bits each, the last axis lowest. Bit 511 is set.
  parameter logic [511:0] Strides = {1'b1, 511'd1}
) (
  /// Clock.
  input  logic                        clk_i,
  /// Synchronous reset, active low.
  input  logic                        rst_ni,
  /// Input stream.
  input  logic                        in_valid_i,
  /// Input stream.
  output logic                        in_ready_o,
  /// Input stream.
  input  logic [Beat*InChannels*Bits-1:0] in_data_i,
  /// Output stream.
  output logic                        out_valid_o,
  /// Output stream.
  input  logic                        out_ready_i,
  /// Output stream.
  output logic [OutChannels*Bits-1:0] out_data_o
);

  localparam int unsigned Elements = InChannels * InPixels;
  localparam int unsigned InBeats = InPixels / Beat;
  localparam int unsigned InCountBits = $clog2(InBeats + 1);
  localparam int unsigned OutCountBits = $clog2(OutPixels + 1);

  if (Elements != OutChannels * OutPixels || Rank > 15 || InBeats * Beat != InPixels) begin : gen_bad
    $fatal(1, "eq_rearrange: %0d elements in, %0d out, %0d axes, %0d pixels a beat", Elements, OutChannels * OutPixels, Rank, Beat);
  end

  // Where in the collected frame (pixel by pixel) the element lies that the output has at `place` (pixel by pixel).
  function automatic int unsigned source(input int unsigned place);
    int unsigned rest, from;
    rest = (place % OutChannels) * OutPixels + place / OutChannels;
    from = 0;
    for (int unsigned axis = 0; axis < Rank; axis++) begin
      from = from + (rest % Sizes[32*axis +: 32]) * Strides[32*axis +: 32];
      rest = rest / Sizes[32*axis +: 32];
    end
    source = (from % InPixels) * InChannels + from / InPixels;
  endfunction

  logic [Elements*Bits-1:0] collected_q, permuted, frame_q;
  logic [InCountBits-1:0] in_count_q;
  logic [OutCountBits-1:0] out_left_q;
  logic credit, full_q, accept, move, take;

  // Collecting stops while a full frame waits for the one before it to leave.
  assign move = full_q && (out_left_q == '0 || (out_left_q == OutCountBits'(1) && take));
  assign in_ready_o = !full_q || move;
  assign accept = in_valid_i && in_ready_o;
  assign take = out_left_q != '0 && credit;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      in_count_q <= '0;
      out_left_q <= '0;
      full_q <= 1'b0;
    end else begin
      if (accept) in_count_q <= in_count_q == InCountBits'(InBeats - 1) ? '0 : in_count_q + 1'b1;
      if (accept && in_count_q == InCountBits'(InBeats - 1)) full_q <= 1'b1;
      else if (move) full_q <= 1'b0;
      if (move) out_left_q <= OutCountBits'(OutPixels);
      else if (take) out_left_q <= out_left_q - 1'b1;
    end
  end

  if (InBeats == 1) begin : gen_beat
    always_ff @(posedge clk_i) if (accept) collected_q <= in_data_i;
  end else begin : gen_collect
    always_ff @(posedge clk_i) if (accept) collected_q <= {in_data_i, collected_q[Elements*Bits-1:Beat*InChannels*Bits]};
  end
  for (genvar e = 0; e < Elements; e++) begin : gen_element
    localparam int unsigned From = source(e);
    assign permuted[e*Bits +: Bits] = collected_q[From*Bits +: Bits];
  end
  if (OutPixels == 1) begin : gen_whole
    always_ff @(posedge clk_i) if (move) frame_q <= permuted;
  end else begin : gen_emit
    always_ff @(posedge clk_i) begin
      if (move) frame_q <= permuted;
      else if (take) frame_q <= frame_q >> (OutChannels * Bits);
    end
  end

  eq_outfifo #(
    .Width(OutChannels * Bits),
    .Depth(3)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(credit),
    .take_i(take),
    .push_i(take),
    .data_i(frame_q[OutChannels*Bits-1:0]),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
