// Sum of two streams with a constant each a channel: y = a * x0 + b * x1, exact, by shifts and additions. It waits for both:
// behind a fork, an input may need an eq_fifo.
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
  /// Signed digits of a constant, each as eq_digit.
  parameter int unsigned Digits = 1,
  /// The largest shift of a digit.
  parameter int unsigned MaxShift = 0,
  /// The constants: one word, {b, a} a channel, channel 0 lowest.
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
  localparam int unsigned DigitBits = 2 + $clog2(MaxShift + 1);
  localparam int unsigned MulBits = Digits * DigitBits;

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
    logic signed [SumBits-1:0] product0_q, product1_q, sum_q;
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
      product0_q <= gen_digit[Digits-1].product0;
      product1_q <= gen_digit[Digits-1].product1;
      sum_q <= product0_q + product1_q;
    end
    for (genvar d = 0; d < Digits; d++) begin : gen_digit
      logic signed [SumBits-1:0] term0, term1, product0, product1;
      eq_digit #(
        .InBits(Value0Bits),
        .MaxShift(MaxShift),
        .OutBits(SumBits)
      ) u_digit0 (
        .value_i(value0_q),
        .minus_i(-value0_q),
        .digit_i(multipliers[2*c*MulBits + d*DigitBits +: DigitBits]),
        .product_o(term0)
      );
      eq_digit #(
        .InBits(Value1Bits),
        .MaxShift(MaxShift),
        .OutBits(SumBits)
      ) u_digit1 (
        .value_i(value1_q),
        .minus_i(-value1_q),
        .digit_i(multipliers[(2*c + 1)*MulBits + d*DigitBits +: DigitBits]),
        .product_o(term1)
      );
      if (d == 0) begin : gen_first
        assign product0 = term0;
        assign product1 = term1;
      end else begin : gen_next
        assign product0 = term0 + gen_digit[d-1].product0;
        assign product1 = term1 + gen_digit[d-1].product1;
      end
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
