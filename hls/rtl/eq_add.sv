// Sum of two streams with a multiplier each a channel: y = a * x0 + b * x1, exact. It waits for both: behind a fork, an input
// may need an eq_fifo.
// Latency 4 cycles; a pixel a cycle.
module eq_add #(
  /// Channels.
  parameter int unsigned Channels = 1,
  /// Bits of a channel of the first input.
  parameter int unsigned In0Bits = 8,
  /// Its code, as eq_decode.
  parameter int unsigned In0Kind = 0,
  /// Bits of a channel of the second input.
  parameter int unsigned In1Bits = 8,
  /// Its code, as eq_decode.
  parameter int unsigned In1Kind = 0,
  /// Bits of a multiplier, two's complement.
  parameter int unsigned MulBits = 2,
  /// The multipliers: one word, {b, a} a channel, channel 0 lowest.
  parameter File = "",
  /// Bits of an output channel.
  parameter int unsigned OutBits = 8,
  /// Code of the output, as eq_decode.
  parameter int unsigned OutKind = 0
) (
  /// Clock.
  input  logic                        clk_i,
  /// Synchronous reset, active low.
  input  logic                        rst_ni,
  /// First input stream.
  input  logic                        in0_valid_i,
  /// First input stream.
  output logic                        in0_ready_o,
  /// First input stream.
  input  logic [Channels*In0Bits-1:0] in0_data_i,
  /// Second input stream.
  input  logic                        in1_valid_i,
  /// Second input stream.
  output logic                        in1_ready_o,
  /// Second input stream.
  input  logic [Channels*In1Bits-1:0] in1_data_i,
  /// Output stream.
  output logic                        out_valid_o,
  /// Output stream.
  input  logic                        out_ready_i,
  /// Output stream.
  output logic [Channels*OutBits-1:0] out_data_o
);

  localparam int unsigned SumBits = OutBits + 1;
  localparam int unsigned Value0Bits = In0Bits + 1;
  localparam int unsigned Value1Bits = In1Bits + 1;

  logic credit, take;
  assign take = in0_valid_i && in1_valid_i && credit;
  assign in0_ready_o = in1_valid_i && credit;
  assign in1_ready_o = in0_valid_i && credit;

  logic [2:0] valid_q;
  logic [2*Channels*MulBits-1:0] multipliers;
  logic [Channels*OutBits-1:0] y;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else valid_q <= {valid_q[1:0], take};
  end
  eq_rom #(
    .Width(2 * Channels * MulBits),
    .Depth(1),
    .File(File)
  ) u_multipliers (
    .clk_i,
    .addr_i(1'b0),
    .data_o(multipliers)
  );

  for (genvar c = 0; c < Channels; c++) begin : gen_channel
    logic signed [Value0Bits-1:0] value0, value0_q;
    logic signed [Value1Bits-1:0] value1, value1_q;
    logic signed [MulBits-1:0] a, b;
    logic signed [SumBits-1:0] product0_q, product1_q, sum_q;
    assign {b, a} = multipliers[2*c*MulBits +: 2*MulBits];
    // Products are needed modulo 2**SumBits only.
    logic unused;
    assign unused = ^{value0_q, value1_q, a, b};
    eq_decode #(
      .InBits(In0Bits),
      .Kind(In0Kind),
      .OutBits(Value0Bits)
    ) u_decode0 (
      .code_i(in0_data_i[c*In0Bits +: In0Bits]),
      .value_o(value0)
    );
    eq_decode #(
      .InBits(In1Bits),
      .Kind(In1Kind),
      .OutBits(Value1Bits)
    ) u_decode1 (
      .code_i(in1_data_i[c*In1Bits +: In1Bits]),
      .value_o(value1)
    );
    always_ff @(posedge clk_i) begin
      value0_q <= value0;
      value1_q <= value1;
      product0_q <= SumBits'(value0_q) * SumBits'(a);
      product1_q <= SumBits'(value1_q) * SumBits'(b);
      sum_q <= product0_q + product1_q;
    end
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
    .Depth(6)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(credit),
    .take_i(take),
    .push_i(valid_q[2]),
    .data_i(y),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
