// Maximum of each channel over all pixels of a frame. For a sliding window use eq_max_pool.
// Latency 2 cycles from the last pixel; a pixel a cycle.
module eq_global_max_pool #(
  /// Pixels of a frame.
  parameter int unsigned Pixels = 16,
  /// Channels.
  parameter int unsigned Channels = 1,
  /// Bits of a channel, in and out.
  parameter int unsigned InBits = 8,
  /// Code of a channel, as eq_decode.
  parameter int unsigned InKind = 0
) (
  /// Clock.
  input  logic                       clk_i,
  /// Synchronous reset, active low.
  input  logic                       rst_ni,
  /// Input stream.
  input  logic                       in_valid_i,
  /// Input stream.
  output logic                       in_ready_o,
  /// Input stream.
  input  logic [Channels*InBits-1:0] in_data_i,
  /// Output stream.
  output logic                       out_valid_o,
  /// Output stream.
  input  logic                       out_ready_i,
  /// Output stream.
  output logic [Channels*InBits-1:0] out_data_o
);

  localparam int unsigned CountBits = $clog2(Pixels + 1);
  // Turns a code into an unsigned number of the same order, and back.
  localparam logic [InBits-1:0] Flip = InKind == 1 ? InBits'(1) << (InBits - 1) : '0;

  logic accept, take, first, last, valid_q, credit;
  logic [CountBits-1:0] count_q;
  logic [Channels*InBits-1:0] y;

  assign first = count_q == '0;
  assign last = count_q == CountBits'(Pixels - 1);
  assign in_ready_o = credit;
  assign accept = in_valid_i && credit;
  assign take = accept && last;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      count_q <= '0;
      valid_q <= 1'b0;
    end else begin
      if (accept) count_q <= last ? '0 : count_q + 1'b1;
      valid_q <= take;
    end
  end

  for (genvar c = 0; c < Channels; c++) begin : gen_channel
    logic [InBits-1:0] value, max_q;
    assign value = in_data_i[c*InBits +: InBits] ^ Flip;
    always_ff @(posedge clk_i) if (accept && (first || value > max_q)) max_q <= value;
    assign y[c*InBits +: InBits] = max_q ^ Flip;
  end

  eq_outfifo #(
    .Width(Channels * InBits),
    .Depth(4)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(credit),
    .take_i(take),
    .push_i(valid_q),
    .data_i(y),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
