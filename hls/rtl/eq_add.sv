// Sum of two streams with a constant each a channel: y = a * x0 + b * x1, exact, by shifts and additions, Pe channels a cycle.
// It waits for both: behind a fork, an input may need an eq_fifo.
// Latency Channels/Pe + 3 cycles; exactly Channels/Pe cycles a pixel.
module eq_add #(
  /// Channels.
  parameter int unsigned Channels = 1,
  /// Channels at a time: a divisor of Channels.
  parameter int unsigned Pe = 1,
  /// A beat carries Pe channels; else all of a pixel.
  parameter bit          Narrow = 1'b0,
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
  /// The constants: a word for every Pe channels, {b, a} a channel, the lowest channel lowest.
  parameter File = "",
  /// Bits of an output channel.
  parameter int unsigned OutBits = 8,
  /// Code of the output, as eq_decode.
  parameter int unsigned OutKind = 0,
  /// Channels of a beat; derived, do not set.
  parameter int unsigned BeatChannels = Narrow ? Pe : Channels
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
  input  logic [BeatChannels*In0Bits-1:0] in0_data_i,
  /// Second input stream.
  input  logic                        in1_valid_i,
  /// Second input stream.
  output logic                        in1_ready_o,
  /// Second input stream.
  input  logic [BeatChannels*In1Bits-1:0] in1_data_i,
  /// Output stream.
  output logic                        out_valid_o,
  /// Output stream.
  input  logic                        out_ready_i,
  /// Output stream.
  output logic [BeatChannels*OutBits-1:0] out_data_o
);

  localparam int unsigned SumBits = OutBits + 1;
  localparam int unsigned Value0Bits = In0Bits + 1;
  localparam int unsigned Value1Bits = In1Bits + 1;
  localparam int unsigned DigitBits = 2 + $clog2(MaxShift + 1);
  localparam int unsigned MulBits = Digits * DigitBits;
  localparam int unsigned Steps = Channels / Pe;
  localparam int unsigned StepBits = Steps > 1 ? $clog2(Steps) : 1;
  localparam int unsigned Parts = BeatChannels / Pe;
  localparam int unsigned PartBits = Parts > 1 ? $clog2(Parts) : 1;
  // From a beat's credit to its return: its steps and four cycles.
  localparam int unsigned FifoDepth = Parts > 1 ? 4 / Parts + 2 : 6;

  if (Channels % Pe != 0) begin : gen_bad
    $fatal(1, "eq_add: Pe %0d does not divide %0d channels", Pe, Channels);
  end

  logic credit, ready, step, first, last, push;
  logic [StepBits-1:0] index;
  logic [Pe*In0Bits-1:0] codes0;
  logic [Pe*In1Bits-1:0] codes1;
  logic unused;
  assign unused = last;
  assign in0_ready_o = in1_valid_i && ready;
  assign in1_ready_o = in0_valid_i && ready;

  eq_steps #(
    .Steps(Steps),
    .NarrowIn(Narrow),
    .NarrowOut(Narrow)
  ) u_steps (
    .clk_i,
    .rst_ni,
    .in_valid_i(in0_valid_i && in1_valid_i),
    .in_ready_o(ready),
    .credit_i(credit),
    .step_o(step),
    .first_o(first),
    .last_o(last),
    .index_o(index)
  );
  eq_slice #(
    .Slices(Parts),
    .Width(Pe * In0Bits)
  ) u_slice0 (
    .data_i(in0_data_i),
    .index_i(PartBits'(index)),
    .slice_o(codes0)
  );
  eq_slice #(
    .Slices(Parts),
    .Width(Pe * In1Bits)
  ) u_slice1 (
    .data_i(in1_data_i),
    .index_i(PartBits'(index)),
    .slice_o(codes1)
  );

  logic [2:0] valid_q;
  logic [2*Pe*MulBits-1:0] multipliers;
  logic [Pe*OutBits-1:0] y;
  logic [BeatChannels*OutBits-1:0] beat;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else valid_q <= {valid_q[1:0], step};
  end
  eq_rom #(
    .Width(2 * Pe * MulBits),
    .Depth(Steps),
    .File(File)
  ) u_multipliers (
    .clk_i,
    .addr_i(index),
    .data_o(multipliers)
  );

  for (genvar c = 0; c < Pe; c++) begin : gen_lane
    logic signed [Value0Bits-1:0] value0, value0_q;
    logic signed [Value1Bits-1:0] value1, value1_q;
    logic signed [SumBits-1:0] product0_q, product1_q, sum_q;
    eq_decode #(
      .InBits(In0Bits),
      .Kind(In0Kind),
      .OutBits(Value0Bits)
    ) u_decode0 (
      .code_i(codes0[c*In0Bits +: In0Bits]),
      .value_o(value0)
    );
    eq_decode #(
      .InBits(In1Bits),
      .Kind(In1Kind),
      .OutBits(Value1Bits)
    ) u_decode1 (
      .code_i(codes1[c*In1Bits +: In1Bits]),
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

  eq_collect #(
    .Parts(Parts),
    .Width(Pe * OutBits)
  ) u_collect (
    .clk_i,
    .rst_ni,
    .valid_i(valid_q[2]),
    .data_i(y),
    .valid_o(push),
    .data_o(beat)
  );

  eq_outfifo #(
    .Width(BeatChannels * OutBits),
    .Depth(FifoDepth)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(credit),
    .take_i(Narrow ? step : first),
    .push_i(push),
    .data_i(beat),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
