// The value of a stored code as a signed number: unsigned, two's complement, or one bit for -1 and +1. Combinational.
module eq_decode #(
  /// Bits of the code.
  parameter int unsigned InBits = 1,
  /// 0 unsigned, 1 two's complement, 2 bipolar (1 is +1, 0 is -1).
  parameter int unsigned Kind = 0,
  /// Bits of the value; it must hold it.
  parameter int unsigned OutBits = 2
) (
  /// Code.
  input  logic [InBits-1:0]         code_i,
  /// Value.
  output logic signed [OutBits-1:0] value_o
);

  if (Kind > 2 || OutBits < InBits + (Kind == 1 ? 0 : 1)) begin : gen_bad
    $fatal(1, "eq_decode: %0d bits of kind %0d do not fit %0d bits", InBits, Kind, OutBits);
  end

  if (Kind == 2) begin : gen_bipolar
    assign value_o = code_i[0] ? OutBits'(1) : '1;
  end else if (Kind == 1) begin : gen_signed
    assign value_o = OutBits'(signed'(code_i));
  end else begin : gen_unsigned
    assign value_o = OutBits'(signed'({1'b0, code_i}));
  end

endmodule
