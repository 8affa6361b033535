// GELU in integers on Pe channels a cycle: y = m * (((m >= 0 ? one : e) << Bits) / (one + e)), m = min(x, Hi),
// e = ExpShift(-|m| * Slope), one = 2**(Point+Shift); the division a pipeline with a stage a digit. The pixel stays in the source
// until its last cycle. A short x makes a smaller table: eq_lookup.
// Latency Channels/Pe + Bits + 9 cycles; exactly Channels/Pe cycles a pixel.
module eq_shift_gelu #(
  /// Channels.
  parameter int unsigned Channels = 1,
  /// Channels at a time: a divisor of Channels.
  parameter int unsigned Pe = 1,
  /// A beat carries Pe channels; else all of a pixel.
  parameter bit          Narrow = 1'b0,
  /// Bits of an input channel.
  parameter int unsigned InBits = 8,
  /// Code of an input channel, as eq_decode.
  parameter int unsigned InKind = 0,
  /// The largest m, two's complement below bit 64, which is 1.
  parameter logic [64:0] Hi = 65'h1_0000_0000_0000_007F,
  /// As eq_exp_shift.
  parameter int unsigned Slope = 1,
  /// As eq_exp_shift.
  parameter int unsigned Point = 8,
  /// As eq_exp_shift.
  parameter int unsigned Shift = 15,
  /// Bits of the sigmoid.
  parameter int unsigned Bits = 7,
  /// Bits of an output channel.
  parameter int unsigned OutBits = 15,
  /// Code of an output channel, as eq_decode.
  parameter int unsigned OutKind = 1,
  /// Channels of a beat; derived, do not set.
  parameter int unsigned BeatChannels = Narrow ? Pe : Channels
) (
  /// Clock.
  input  logic                        clk_i,
  /// Synchronous reset, active low.
  input  logic                        rst_ni,
  /// Input stream.
  input  logic                        in_valid_i,
  /// Input stream; high in a pixel's last cycle.
  output logic                        in_ready_o,
  /// Input stream.
  input  logic [BeatChannels*InBits-1:0]  in_data_i,
  /// Output stream.
  output logic                        out_valid_o,
  /// Output stream.
  input  logic                        out_ready_i,
  /// Output stream.
  output logic [BeatChannels*OutBits-1:0] out_data_o
);

  localparam int unsigned Steps = Channels / Pe;
  localparam int unsigned Latency = Bits + 9;
  localparam int unsigned Parts = BeatChannels / Pe;
  // From a beat's credit to its return: its steps, the pipeline and a cycle.
  localparam int unsigned FifoDepth = (Latency + 1) / Parts + 2;
  localparam int unsigned ValueBits = InBits + 1;
  localparam int unsigned ExpBits = Point + Shift + 1;
  localparam int unsigned NumBits = ExpBits + Bits;
  localparam int unsigned DenBits = ExpBits + 1;
  localparam int unsigned ProductBits = ValueBits + Bits + 1 > OutBits ? ValueBits + Bits + 1 : OutBits;
  // Cycles from m to its product: magnitude, exponential, dividend and divisor, quotient.
  localparam int unsigned Wait = Bits + 6;
  localparam logic signed [63:0] Most = Hi[63:0];
  localparam logic [ExpBits-1:0] One = ExpBits'(1) << (Point + Shift);

  if (Channels % Pe != 0 || !Hi[64] || Bits < 1) begin : gen_bad
    $fatal(1, "eq_shift_gelu: Pe %0d does not fit %0d channels, or Hi %0h or Bits %0d is wrong", Pe, Channels, Hi, Bits);
  end

  logic credit, step, first, last, unused;
  logic [Pe*InBits-1:0] codes;
  logic [Latency-1:0] valid_q;
  eq_slices #(
    .Parts(Steps),
    .Width(Pe * InBits),
    .NarrowIn(Narrow),
    .NarrowOut(Narrow)
  ) u_slices (
    .clk_i,
    .rst_ni,
    .in_valid_i,
    .in_ready_o,
    .in_data_i,
    .credit_i(credit),
    .step_o(step),
    .first_o(first),
    .last_o(last),
    .part_o(codes)
  );
  assign unused = last;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else valid_q <= Latency'({valid_q, step});
  end

  logic [Pe*OutBits-1:0] y;
  for (genvar p = 0; p < Pe; p++) begin : gen_lane
    // m.
    logic signed [ValueBits-1:0] x;
    logic signed [ValueBits-1:0] m_q [Wait + 1];
    eq_decode #(
      .InBits(InBits),
      .Kind(InKind),
      .OutBits(ValueBits)
    ) u_decode (
      .code_i(codes[p*InBits +: InBits]),
      .value_o(x)
    );
    always_ff @(posedge clk_i) begin
      m_q[0] <= 64'(x) > Most ? ValueBits'(Most) : x;
      for (int unsigned i = 1; i <= Wait; i++) m_q[i] <= m_q[i-1];
    end

    // Its magnitude and exponential.
    logic [ValueBits-1:0] magnitude_q;
    logic [ExpBits-1:0] e;
    always_ff @(posedge clk_i) magnitude_q <= m_q[0] < 0 ? -m_q[0] : m_q[0];
    eq_exp_shift #(
      .InBits(ValueBits),
      .Slope(Slope),
      .Point(Point),
      .Shift(Shift)
    ) u_exp (
      .clk_i,
      .distance_i(magnitude_q),
      .e_o(e)
    );

    // The sigmoid.
    logic [NumBits-1:0] dividend_q;
    logic [DenBits-1:0] divisor_q;
    logic [Bits-1:0] sigmoid;
    always_ff @(posedge clk_i) begin
      dividend_q <= {m_q[5] < 0 ? e : One, {Bits{1'b0}}};
      divisor_q <= DenBits'(e) + DenBits'(One);
    end
    eq_divide #(
      .NumBits(NumBits),
      .DenBits(DenBits),
      .Digits(Bits)
    ) u_divide (
      .clk_i,
      .first_i(1'b1),
      .num_i(dividend_q),
      .den_i(divisor_q),
      .quotient_o(sigmoid)
    );

    // Their product.
    logic signed [ProductBits-1:0] product_q;
    always_ff @(posedge clk_i) product_q <= ProductBits'(m_q[Wait]) * ProductBits'(signed'({1'b0, sigmoid}));
    eq_encode #(
      .InBits(ProductBits),
      .Kind(OutKind),
      .OutBits(OutBits)
    ) u_encode (
      .value_i(product_q),
      .code_o(y[p*OutBits +: OutBits])
    );
  end

  // The channels of a pixel come together.
  logic push;
  logic [BeatChannels*OutBits-1:0] beat;
  eq_collect #(
    .Parts(Parts),
    .Width(Pe * OutBits)
  ) u_collect (
    .clk_i,
    .rst_ni,
    .valid_i(valid_q[Latency-1]),
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
