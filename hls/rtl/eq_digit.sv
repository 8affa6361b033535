// One signed digit of a constant times a value: a shift, a choice of sign, and 0 where the digit is 0. No multiplier: a constant
// of K digits takes K of these, and a sum. Combinational.
module eq_digit #(
  /// Bits of the value and of its negation, two's complement.
  parameter int unsigned InBits = 9,
  /// The largest shift.
  parameter int unsigned MaxShift = 7,
  /// Bits of the result; it wraps.
  parameter int unsigned OutBits = 16,
  /// Bits of a digit; derived, do not set.
  parameter int unsigned DigitBits = 2 + $clog2(MaxShift + 1)
) (
  /// Value.
  input  logic signed [InBits-1:0]    value_i,
  /// Its negation.
  input  logic signed [InBits-1:0]    minus_i,
  /// The digit, {shift, negative, not 0}.
  input  logic        [DigitBits-1:0] digit_i,
  /// digit * value.
  output logic signed [OutBits-1:0]   product_o
);

  logic signed [OutBits-1:0] signed_value, shifted;
  assign signed_value = digit_i[1] ? OutBits'(minus_i) : OutBits'(value_i);
  if (MaxShift == 0) begin : gen_no_shift
    assign shifted = signed_value;
  end else begin : gen_shift
    assign shifted = signed_value << digit_i[DigitBits-1:2];
  end
  assign product_o = digit_i[0] ? shifted : '0;
  if (OutBits < InBits) begin : gen_unused
    logic unused;
    assign unused = ^{value_i, minus_i};
  end

endmodule
