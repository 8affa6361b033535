// The number of equal bits of two words: XNOR and popcount. Two bodies as eq_popcount; with EQ_LUT6 three pairs of bits at a
// time go through a full adder of two LUT6, so that XNORs take no LUT of their own. Combinational.
module eq_equal_count #(
  /// Bits of a word.
  parameter int unsigned Width = 6,
  /// Bits of the count; derived, do not set.
  parameter int unsigned CountBits = $clog2(Width + 1)
) (
  /// A word.
  input  logic [Width-1:0]     a_i,
  /// The other one.
  input  logic [Width-1:0]     b_i,
  /// Bits in which they are equal.
  output logic [CountBits-1:0] count_o
);

`ifdef EQ_LUT6
  localparam int unsigned Triples = (Width + 2) / 3;
  localparam int unsigned TripleBits = $clog2(Triples + 1);
  logic [Width-1:0] pairs;
  logic [3*Triples-1:0] equal;
  logic [Triples-1:0] ones, twos;
  logic [TripleBits-1:0] sum1, sum2;
  assign pairs = a_i ~^ b_i;
  assign equal = (3 * Triples)'(pairs);
  for (genvar t = 0; t < Triples; t++) begin : gen_triple
    logic [2:0] e;
    assign e = equal[3*t +: 3];
    assign ones[t] = ^e;
    assign twos[t] = (e[0] && e[1]) || (e[0] && e[2]) || (e[1] && e[2]);
  end
  eq_popcount #(.Width(Triples)) u_ones (.bits_i(ones), .count_o(sum1));
  eq_popcount #(.Width(Triples)) u_twos (.bits_i(twos), .count_o(sum2));
  assign count_o = CountBits'(sum1) + CountBits'({sum2, 1'b0});
`else
  assign count_o = CountBits'($countones(a_i ~^ b_i));
`endif

endmodule
