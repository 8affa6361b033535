// Scalar products of short vectors of two streams, several at a time: eq_dot, with the operand of one bit, if there is one, where
// a product takes no multiplier.
// Latency 1 cycle for bipolar operands, else 1 + ceil(log4(Terms)); one a cycle, never stalling.
module eq_products #(
  /// Scalar products at a time.
  parameter int unsigned Lanes = 1,
  /// Terms of one.
  parameter int unsigned Terms = 1,
  /// Bits of an element of the first operand.
  parameter int unsigned In0Bits = 8,
  /// Its code, as eq_decode.
  parameter int unsigned In0Kind = 0,
  /// Bits of an element of the second operand.
  parameter int unsigned In1Bits = 8,
  /// Its code, as eq_decode.
  parameter int unsigned In1Kind = 0,
  /// Bits of a product; it wraps. Of bipolar operands it is 2 * the number of equal bits.
  parameter int unsigned SumBits = 16,
  /// Bits that travel along.
  parameter int unsigned SideBits = 1
) (
  /// Clock.
  input  logic                           clk_i,
  /// Synchronous reset, active low, of the valid bit.
  input  logic                           rst_ni,
  /// Operands are there.
  input  logic                           valid_i,
  /// First operands, lane by lane.
  input  logic [Lanes*Terms*In0Bits-1:0] in0_i,
  /// Second operands, lane by lane.
  input  logic [Lanes*Terms*In1Bits-1:0] in1_i,
  /// Bits that travel along.
  input  logic [SideBits-1:0]            side_i,
  /// Products are there.
  output logic                           valid_o,
  /// Products, lane by lane.
  output logic [Lanes*SumBits-1:0]       sums_o,
  /// `side_i` of these products.
  output logic [SideBits-1:0]            side_o
);

  // The weights of eq_dot are the operand that is bipolar, else the one that is a bit.
  localparam bit Swapped = In0Kind == 2 || (In1Kind != 2 && In0Bits == 1);
  localparam int unsigned XBits = Swapped ? In1Bits : In0Bits;
  localparam int unsigned WBits = Swapped ? In0Bits : In1Bits;

  logic [Lanes*Terms*XBits-1:0] x;
  logic [Lanes*Terms*WBits-1:0] weights;
  if (Swapped) begin : gen_swapped
    assign x = in1_i;
    assign weights = in0_i;
  end else begin : gen_as_is
    assign x = in0_i;
    assign weights = in1_i;
  end

  eq_dot #(
    .Pe(Lanes),
    .Simd(Terms),
    .Spans(Lanes),
    .XBits(XBits),
    .XKind(Swapped ? In1Kind : In0Kind),
    .WBits(WBits),
    .WKind(Swapped ? In0Kind : In1Kind),
    .SumBits(SumBits),
    .SideBits(SideBits)
  ) u_dot (
    .clk_i,
    .rst_ni,
    .valid_i,
    .x_i(x),
    .mask_i('1),
    .weights_i(weights),
    .side_i,
    .valid_o,
    .sums_o,
    .side_o
  );

endmodule
