// A constant for each pixel and channel of a frame, added; the constants come from a ROM. For one a channel, eq_pointwise takes no
// memory.
// Latency 3 cycles; a pixel a cycle.
module eq_add_position #(
  /// Pixels of a frame.
  parameter int unsigned Pixels = 16,
  /// Channels.
  parameter int unsigned Channels = 1,
  /// Bits of an input channel.
  parameter int unsigned InBits = 8,
  /// Code of the input, as eq_decode.
  parameter int unsigned InKind = 0,
  /// Bits of an output channel.
  parameter int unsigned OutBits = 8,
  /// Code of the output, as eq_decode.
  parameter int unsigned OutKind = 0,
  /// Bits of a constant, two's complement.
  parameter int unsigned ConstantBits = 8,
  /// Image of the constants: a word a pixel, channel 0 lowest.
  parameter File = ""
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
  input  logic [Channels*InBits-1:0]  in_data_i,
  /// Output stream.
  output logic                        out_valid_o,
  /// Output stream.
  input  logic                        out_ready_i,
  /// Output stream.
  output logic [Channels*OutBits-1:0] out_data_o
);

  localparam int unsigned AddrBits = Pixels > 1 ? $clog2(Pixels) : 1;
  localparam int unsigned WidestIn = InBits > ConstantBits ? InBits : ConstantBits;
  localparam int unsigned SumBits = (WidestIn > OutBits ? WidestIn : OutBits) + 1;

  logic [AddrBits-1:0] pixel_q;
  logic take, valid_q, valid2_q;
  logic [Channels*InBits-1:0] x_q;
  logic [Channels*ConstantBits-1:0] constants;
  logic [Channels*OutBits-1:0] y;

  assign take = in_valid_i && in_ready_o;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      pixel_q <= '0;
      {valid2_q, valid_q} <= '0;
    end else begin
      if (take) pixel_q <= pixel_q == AddrBits'(Pixels - 1) ? '0 : pixel_q + 1'b1;
      {valid2_q, valid_q} <= {valid_q, take};
    end
  end

  // Stage 1: x and its constants.
  always_ff @(posedge clk_i) x_q <= in_data_i;
  eq_rom #(
    .Width(Channels * ConstantBits),
    .Depth(Pixels),
    .File(File)
  ) u_constants (
    .clk_i,
    .addr_i(pixel_q),
    .data_o(constants)
  );

  // Stage 2: sums.
  for (genvar c = 0; c < Channels; c++) begin : gen_channel
    logic signed [SumBits-1:0] value, sum_q;
    logic signed [ConstantBits-1:0] constant;
    assign constant = constants[c*ConstantBits +: ConstantBits];
    eq_decode #(
      .InBits(InBits),
      .Kind(InKind),
      .OutBits(SumBits)
    ) u_decode (
      .code_i(x_q[c*InBits +: InBits]),
      .value_o(value)
    );
    always_ff @(posedge clk_i) sum_q <= value + SumBits'(constant);
    eq_encode #(
      .InBits(SumBits),
      .Kind(OutKind),
      .OutBits(OutBits)
    ) u_encode (
      .value_i(sum_q),
      .code_o(y[c*OutBits +: OutBits])
    );
  end

  eq_outfifo #(
    .Width(Channels * OutBits),
    .Depth(4)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(in_ready_o),
    .take_i(take),
    .push_i(valid2_q),
    .data_i(y),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
