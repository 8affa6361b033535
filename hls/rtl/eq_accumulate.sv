// The sum of all terms of a beat, Lanes of them a cycle. It wraps: only the whole sum has to fit.
// Latency ceil(log4(Lanes)) + 1 cycles from the last terms, never stalling.
module eq_accumulate #(
  /// Terms at a time.
  parameter int unsigned Lanes = 1,
  /// Bits of a term, two's complement.
  parameter int unsigned InBits = 8,
  /// Bits of the sum.
  parameter int unsigned OutBits = 16,
  /// What the sum starts from.
  parameter logic [63:0] Start = 64'd0
) (
  /// Clock.
  input  logic                    clk_i,
  /// Synchronous reset, active low.
  input  logic                    rst_ni,
  /// Terms are there.
  input  logic                    valid_i,
  /// They are a beat's first.
  input  logic                    first_i,
  /// They are a beat's last.
  input  logic                    last_i,
  /// The terms, lane 0 lowest.
  input  logic [Lanes*InBits-1:0] terms_i,
  /// The sum of a beat is there, for one cycle.
  output logic                    valid_o,
  /// That sum.
  output logic [OutBits-1:0]      sum_o
);

  localparam int unsigned Levels = ($clog2(Lanes) + 1) / 2;

  logic [OutBits-1:0] part;
  logic [3*Levels+2:0] flags;
  eq_sum #(
    .Terms(Lanes),
    .InBits(InBits),
    .OutBits(OutBits)
  ) u_sum (
    .clk_i,
    .terms_i,
    .sum_o(part)
  );

  // {last, first, valid} of each level of the tree.
  assign flags[2:0] = {last_i, first_i, valid_i};
  if (Levels > 0) begin : gen_flags
    logic [3*Levels-1:0] flags_q;
    always_ff @(posedge clk_i) begin
      if (!rst_ni) flags_q <= '0;
      else flags_q <= flags[3*Levels-1:0];
    end
    assign flags[3*Levels+2:3] = flags_q;
  end

  logic valid, first, last;
  assign {last, first, valid} = flags[3*Levels +: 3];
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_o <= 1'b0;
    else valid_o <= valid && last;
  end
  always_ff @(posedge clk_i) if (valid) sum_o <= part + (first ? OutBits'(Start) : sum_o);

endmodule
