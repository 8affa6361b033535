// The number of ones. Two bodies, equal by construction and proved so: $countones (fast to simulate), and with EQ_LUT6
// defined a tree of 6:3 counters (three LUT6 each) with a short carry adder. Combinational.
module eq_popcount #(
  /// Bits.
  parameter int unsigned Width = 6,
  /// Bits of the count; derived, do not set.
  parameter int unsigned CountBits = $clog2(Width + 1)
) (
  /// Bits to count.
  input  logic [Width-1:0]     bits_i,
  /// Their ones.
  output logic [CountBits-1:0] count_o
);

`ifdef EQ_LUT6
  if (Width <= 6) begin : gen_leaf
    // Bit k of entry x is bit k of the number of ones of x: the INIT values of three LUT6.
    localparam logic [63:0] Ones = 64'h6996966996696996;
    localparam logic [63:0] Twos = 64'h8117177E177E7EE8;
    localparam logic [63:0] Fours = 64'hFEE8E880E8808000;
    logic [5:0] index;
    logic [2:0] count;
    assign index = 6'(bits_i);
    assign count = {Fours[index], Twos[index], Ones[index]};
    assign count_o = count[CountBits-1:0];
    if (CountBits < 3) begin : gen_unused
      logic unused;
      assign unused = ^count;
    end
  end else begin : gen_tree
    localparam int unsigned Groups = (Width + 5) / 6;
    localparam int unsigned GroupBits = $clog2(Groups + 1);
    logic [6*Groups-1:0] padded;
    logic [Groups-1:0] ones, twos, fours;
    logic [GroupBits-1:0] sum1, sum2, sum4;
    assign padded = (6 * Groups)'(bits_i);
    for (genvar g = 0; g < Groups; g++) begin : gen_group
      eq_popcount #(
        .Width(6)
      ) u_group (
        .bits_i(padded[6*g +: 6]),
        .count_o({fours[g], twos[g], ones[g]})
      );
    end
    eq_popcount #(.Width(Groups)) u_ones (.bits_i(ones), .count_o(sum1));
    eq_popcount #(.Width(Groups)) u_twos (.bits_i(twos), .count_o(sum2));
    eq_popcount #(.Width(Groups)) u_fours (.bits_i(fours), .count_o(sum4));
    assign count_o = CountBits'(sum1) + CountBits'({sum2, 1'b0}) + CountBits'({sum4, 2'b0});
  end
`else
  assign count_o = CountBits'($countones(bits_i));
`endif

endmodule
