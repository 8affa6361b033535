// The control of an operator that takes several cycles a pixel. A pixel is one beat, which stays in the source until its last
// cycle, or a beat a cycle. Where a cycle works on a part of a beat, eq_slices selects it.
// Exactly Steps cycles a pixel.
module eq_steps #(
  /// Cycles a pixel.
  parameter int unsigned Steps = 2,
  /// A beat a cycle; else one a pixel.
  parameter bit          NarrowIn = 1'b0,
  /// A credit a cycle; else one a pixel.
  parameter bit          NarrowOut = 1'b0,
  /// Bits of a step; derived, do not set.
  parameter int unsigned StepBits = Steps > 1 ? $clog2(Steps) : 1
) (
  /// Clock.
  input  logic                clk_i,
  /// Synchronous reset, active low.
  input  logic                rst_ni,
  /// Input stream.
  input  logic                in_valid_i,
  /// Input stream; high in the last cycle of a beat.
  output logic                in_ready_o,
  /// The operator has a credit.
  input  logic                credit_i,
  /// A step is done.
  output logic                step_o,
  /// It is a pixel's first, which takes the credit where that is one a pixel.
  output logic                first_o,
  /// It is a pixel's last.
  output logic                last_o,
  /// Its number.
  output logic [StepBits-1:0] index_o
);

  logic [StepBits-1:0] step_q;
  logic ready, last;
  assign ready = credit_i || (!NarrowOut && step_q != '0);
  assign last = step_q == StepBits'(Steps - 1);
  assign index_o = step_q;
  assign in_ready_o = (NarrowIn || last) && ready;
  assign step_o = in_valid_i && ready;
  assign first_o = step_o && step_q == '0;
  assign last_o = step_o && last;
  always_ff @(posedge clk_i) begin
    if (!rst_ni || last_o) step_q <= '0;
    else if (step_o) step_q <= step_q + 1'b1;
  end

endmodule
