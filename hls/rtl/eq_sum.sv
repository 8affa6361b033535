// The sum of signed terms, as a tree of four-input adders with a register after each level.
// Latency ceil(log4(Terms)) cycles, 0 for one term; a sum a cycle, never stalling.
module eq_sum #(
  /// Terms.
  parameter int unsigned Terms = 4,
  /// Bits of a term, two's complement.
  parameter int unsigned InBits = 8,
  /// Bits of the sum; it wraps where the sum does not fit.
  parameter int unsigned OutBits = 10,
  /// Latency; derived, do not set.
  parameter int unsigned Levels = ($clog2(Terms) + 1) / 2
) (
  /// Clock.
  input  logic                      clk_i,
  /// Terms, the first lowest.
  input  logic [Terms*InBits-1:0]   terms_i,
  /// Their sum.
  output logic signed [OutBits-1:0] sum_o
);

  if (Levels == 0) begin : gen_one
    logic unused;
    assign unused = clk_i;
    assign sum_o = OutBits'(signed'(terms_i));
    if (OutBits < InBits) begin : gen_unused
      logic unused_terms;
      assign unused_terms = ^terms_i;
    end
  end else begin : gen_tree
    for (genvar l = 0; l < Levels; l++) begin : gen_level
      localparam int unsigned In = (Terms + 4**l - 1) / 4**l;
      localparam int unsigned Out = (In + 3) / 4;
      localparam int unsigned Bits = InBits + 2 * (l + 1) < OutBits ? InBits + 2 * (l + 1) : OutBits;
      logic signed [Bits-1:0] sum_q [Out];
      for (genvar k = 0; k < Out; k++) begin : gen_node
        logic signed [Bits-1:0] part [4];
        for (genvar m = 0; m < 4; m++) begin : gen_part
          if (4 * k + m >= In) begin : gen_none
            assign part[m] = '0;
          end else if (l == 0) begin : gen_term
            assign part[m] = Bits'(signed'(terms_i[(4*k + m)*InBits +: InBits]));
          if (Bits < InBits) begin : gen_unused
            logic unused;
            assign unused = ^terms_i[(4*k + m)*InBits +: InBits];
          end
          end else begin : gen_sum
            assign part[m] = Bits'(gen_level[l-1].sum_q[4*k + m]);
          end
        end
        always_ff @(posedge clk_i) sum_q[k] <= (part[0] + part[1]) + (part[2] + part[3]);
      end
    end
    assign sum_o = OutBits'(gen_level[Levels-1].sum_q[0]);
  end

endmodule
