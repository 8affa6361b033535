// The stored code of a signed number, the inverse of eq_decode. Combinational; the number must be one that the code has.
module eq_encode #(
  /// Bits of the value, two's complement, OutBits or more.
  parameter int unsigned InBits = 2,
  /// 0 unsigned, 1 two's complement, 2 bipolar (1 is +1, 0 is -1).
  parameter int unsigned Kind = 0,
  /// Bits of the code.
  parameter int unsigned OutBits = 1
) (
  /// Value.
  input  logic signed [InBits-1:0] value_i,
  /// Code.
  output logic [OutBits-1:0]       code_o
);

  if (Kind > 2 || InBits < OutBits) begin : gen_bad
    $fatal(1, "eq_encode: %0d bits of kind %0d from %0d bits", OutBits, Kind, InBits);
  end

  assign code_o = Kind == 2 ? OutBits'(!value_i[InBits-1]) : value_i[OutBits-1:0];
  if (InBits > OutBits) begin : gen_unused
    logic unused;
    assign unused = ^value_i;
  end

endmodule
