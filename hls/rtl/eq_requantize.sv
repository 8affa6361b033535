// Requantization on several lanes: y = clip(round((x * multiplier + offset) / 2^Shift), Lo, Hi), rounded half to even or
// down. Without a multiplier where the constants come as signed digits: then a digit takes a shifter. A part of eq_post, without a stream: eq_pointwise is the operator.
// Latency 3 cycles; one value a lane a cycle, never stalling.
module eq_requantize #(
  /// Values at a time.
  parameter int unsigned Lanes = 1,
  /// Bits of x, two's complement.
  parameter int unsigned InBits = 8,
  /// Bits of a multiplier, two's complement or digits.
  parameter int unsigned MulBits = 8,
  /// Signed digits of a multiplier, each as eq_digit; 0: it is two's complement.
  parameter int unsigned Digits = 0,
  /// The largest shift of a digit.
  parameter int unsigned MaxShift = 0,
  /// Bits that hold x * multiplier + offset and the offset, two's complement.
  parameter int unsigned SumBits = 17,
  /// Bits shifted out.
  parameter int unsigned Shift = 0,
  /// Round half to even; else down.
  parameter bit          HalfEven = 1'b1,
  /// Smallest y.
  parameter logic signed [63:0] Lo = 0,
  /// Largest y.
  parameter logic signed [63:0] Hi = 255,
  /// Bits of y.
  parameter int unsigned OutBits = 8,
  /// Bits of a lane's parameters, {offset, multiplier}; derived, do not set.
  parameter int unsigned ParamBits = MulBits + SumBits
) (
  /// Clock.
  input  logic                       clk_i,
  /// x, lane 0 lowest.
  input  logic [Lanes*InBits-1:0]    x_i,
  /// Parameters, in the cycle of x.
  input  logic [Lanes*ParamBits-1:0] params_i,
  /// y, three cycles later.
  output logic [Lanes*OutBits-1:0]   y_o
);

  if (Shift >= SumBits) begin : gen_bad_shift
    $fatal(1, "eq_requantize: Shift must be below SumBits (%0d), got %0d", SumBits, Shift);
  end

  localparam int unsigned QuotientBits = SumBits - Shift + 1;
  localparam int unsigned ClipBits = QuotientBits > OutBits + 1 ? QuotientBits : OutBits + 1;
  localparam logic signed [ClipBits-1:0] Least = ClipBits'(Lo);
  localparam logic signed [ClipBits-1:0] Most = ClipBits'(Hi);

  for (genvar i = 0; i < Lanes; i++) begin : gen_lane
    logic signed [InBits-1:0] x;
    logic signed [SumBits-1:0] offset_q, sum_q;
    logic signed [ClipBits-1:0] quotient;
    logic [OutBits-1:0] y_q;
    assign x = x_i[i*InBits +: InBits];
    always_ff @(posedge clk_i) offset_q <= params_i[i*ParamBits + MulBits +: SumBits];

    // Products are needed modulo 2**SumBits only.
    if (Digits == 0) begin : gen_multiplier
      logic signed [MulBits-1:0] multiplier;
      logic signed [SumBits-1:0] product_q;
      logic unused_high;
      assign multiplier = params_i[i*ParamBits +: MulBits];
      assign unused_high = ^{x, multiplier};
      always_ff @(posedge clk_i) begin
        product_q <= SumBits'(x) * SumBits'(multiplier);
        sum_q <= product_q + offset_q;
      end
    end else begin : gen_digits
      localparam int unsigned DigitBits = MulBits / Digits;
      localparam int unsigned ValueBits = InBits + 1;
      logic signed [ValueBits-1:0] value, minus;
      assign value = ValueBits'(x);
      assign minus = -value;
      for (genvar d = 0; d < Digits; d++) begin : gen_digit
        logic signed [SumBits-1:0] term, term_q, sum;
        eq_digit #(
          .InBits(ValueBits),
          .MaxShift(MaxShift),
          .OutBits(SumBits)
        ) u_digit (
          .value_i(value),
          .minus_i(minus),
          .digit_i(params_i[i*ParamBits + d*DigitBits +: DigitBits]),
          .product_o(term)
        );
        always_ff @(posedge clk_i) term_q <= term;
        if (d == 0) begin : gen_first
          assign sum = term_q + offset_q;
        end else begin : gen_next
          assign sum = term_q + gen_digit[d-1].sum;
        end
      end
      always_ff @(posedge clk_i) sum_q <= gen_digit[Digits-1].sum;
    end

    if (Shift == 0) begin : gen_whole
      assign quotient = ClipBits'(sum_q);
    end else begin : gen_shift
      logic up;
      if (!HalfEven) begin : gen_floor
        logic unused;
        assign up = 1'b0;
        assign unused = ^sum_q[Shift-1:0];
      end else if (Shift == 1) begin : gen_half
        assign up = sum_q[0] && sum_q[1];
      end else begin : gen_half_even
        assign up = sum_q[Shift-1] && (sum_q[Shift] || sum_q[Shift-2:0] != '0);
      end
      assign quotient = ClipBits'(signed'(sum_q[SumBits-1:Shift])) + ClipBits'(signed'({1'b0, up}));
    end

    always_ff @(posedge clk_i) y_q <= OutBits'(quotient < Least ? Least : quotient > Most ? Most : quotient);
    assign y_o[i*OutBits +: OutBits] = y_q;
  end

endmodule
