// Thresholds on several lanes: y = Base + Step * (negative ? Levels - n : n), n = the number of thresholds that x reaches. A
// part of eq_post, without a stream: eq_pointwise is the operator.
// Latency 2 cycles; one value a lane a cycle, never stalling.
module eq_threshold #(
  /// Values at a time.
  parameter int unsigned Lanes = 1,
  /// Bits of x, two's complement.
  parameter int unsigned InBits = 8,
  /// Thresholds a lane.
  parameter int unsigned Levels = 1,
  /// Value below all thresholds.
  parameter logic signed [63:0] Base = 0,
  /// Value between two thresholds.
  parameter logic signed [63:0] Step = 1,
  /// y is -1 or +1 in one bit.
  parameter bit          Bipolar = 1'b0,
  /// Bits of y.
  parameter int unsigned OutBits = 1,
  /// Bits of a lane's parameters, {negative, thresholds}; derived, do not set.
  parameter int unsigned ParamBits = Levels * (InBits + 1) + 1
) (
  /// Clock.
  input  logic                       clk_i,
  /// x is there, and x of the cycle before was: elsewhere the registers rest.
  input  logic [1:0]                 enable_i,
  /// x, lane 0 lowest.
  input  logic [Lanes*InBits-1:0]    x_i,
  /// Parameters, in the cycle of x.
  input  logic [Lanes*ParamBits-1:0] params_i,
  /// y, two cycles later.
  output logic [Lanes*OutBits-1:0]   y_o
);

  localparam int unsigned ThresholdBits = InBits + 1;
  localparam int unsigned CountBits = $clog2(Levels + 1);

  for (genvar i = 0; i < Lanes; i++) begin : gen_lane
    logic signed [InBits-1:0] x;
    logic [Levels-1:0] reached_q;
    logic [CountBits-1:0] count;
    logic [OutBits-1:0] y_q;
    assign x = x_i[i*InBits +: InBits];

    for (genvar k = 0; k < Levels; k++) begin : gen_level
      logic signed [ThresholdBits-1:0] threshold;
      assign threshold = params_i[i*ParamBits + k*ThresholdBits +: ThresholdBits];
      // A falling lane counts the thresholds that are not reached: Levels - n of them.
      always_ff @(posedge clk_i) begin
        if (enable_i[0]) reached_q[k] <= (ThresholdBits'(x) >= threshold) ^ params_i[i*ParamBits + ParamBits - 1];
      end
    end

    eq_popcount #(
      .Width(Levels)
    ) u_count (
      .bits_i(reached_q),
      .count_o(count)
    );
    if (Bipolar) begin : gen_bipolar
      always_ff @(posedge clk_i) if (enable_i[1]) y_q <= count;
    end else begin : gen_integer
      localparam logic [OutBits-1:0] BaseCode = OutBits'(Base);
      localparam logic [OutBits-1:0] StepCode = OutBits'(Step);
      always_ff @(posedge clk_i) if (enable_i[1]) y_q <= BaseCode + StepCode * OutBits'(count);
    end
    assign y_o[i*OutBits +: OutBits] = y_q;
  end

endmodule
