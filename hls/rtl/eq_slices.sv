// A beat in parts, one a cycle, the lowest first: the front of a folded operator, and the inverse of eq_collect. The beat stays in
// the source until its last part.
// Latency 1 cycle; exactly Parts cycles a beat.
module eq_slices #(
  /// Parts of a beat.
  parameter int unsigned Parts = 2,
  /// Bits of a part.
  parameter int unsigned Width = 8
) (
  /// Clock.
  input  logic                   clk_i,
  /// Synchronous reset, active low.
  input  logic                   rst_ni,
  /// Input stream.
  input  logic                   in_valid_i,
  /// Input stream; high in a beat's last cycle.
  output logic                   in_ready_o,
  /// Input stream.
  input  logic [Parts*Width-1:0] in_data_i,
  /// The operator has a credit for another beat.
  input  logic                   credit_i,
  /// A part is read: it is there in the next cycle.
  output logic                   step_o,
  /// It is a beat's first, which takes the credit.
  output logic                   first_o,
  /// It is a beat's last.
  output logic                   last_o,
  /// The part read in the cycle before.
  output logic [Width-1:0]       part_o
);

  localparam int unsigned StepBits = Parts > 1 ? $clog2(Parts) : 1;

  logic [StepBits-1:0] index;
  logic [Width-1:0] part;
  eq_steps #(
    .Steps(Parts)
  ) u_steps (
    .clk_i,
    .rst_ni,
    .in_valid_i,
    .in_ready_o,
    .credit_i,
    .step_o,
    .first_o,
    .last_o,
    .index_o(index)
  );

  eq_slice #(
    .Slices(Parts),
    .Width(Width)
  ) u_slice (
    .data_i(in_data_i),
    .index_i(index),
    .slice_o(part)
  );
  always_ff @(posedge clk_i) part_o <= part;

endmodule
