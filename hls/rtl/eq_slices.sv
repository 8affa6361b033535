// A pixel in parts, one a cycle, the lowest first: the front of a folded operator, and the inverse of eq_collect. A pixel is one
// beat, which stays in the source until its last part, or a beat a part.
// Latency 1 cycle; exactly Parts cycles a pixel.
module eq_slices #(
  /// Parts of a pixel.
  parameter int unsigned Parts = 2,
  /// Bits of a part.
  parameter int unsigned Width = 8,
  /// A beat a part; else one a pixel.
  parameter bit          NarrowIn = 1'b0,
  /// A credit a part; else one a pixel.
  parameter bit          NarrowOut = 1'b0,
  /// Parts of a beat; derived, do not set.
  parameter int unsigned BeatParts = NarrowIn ? 1 : Parts
) (
  /// Clock.
  input  logic                       clk_i,
  /// Synchronous reset, active low.
  input  logic                       rst_ni,
  /// Input stream.
  input  logic                       in_valid_i,
  /// Input stream; high in the last cycle of a beat.
  output logic                       in_ready_o,
  /// Input stream.
  input  logic [BeatParts*Width-1:0] in_data_i,
  /// The operator has a credit.
  input  logic                       credit_i,
  /// A part is read: it is there in the next cycle.
  output logic                       step_o,
  /// It is a pixel's first, which takes the credit where that is one a pixel.
  output logic                       first_o,
  /// It is a pixel's last.
  output logic                       last_o,
  /// The part read in the cycle before.
  output logic [Width-1:0]           part_o
);

  localparam int unsigned StepBits = Parts > 1 ? $clog2(Parts) : 1;
  localparam int unsigned SliceBits = BeatParts > 1 ? $clog2(BeatParts) : 1;

  logic [StepBits-1:0] index;
  logic [Width-1:0] part;
  logic unused;
  assign unused = ^index;
  eq_steps #(
    .Steps(Parts),
    .NarrowIn(NarrowIn),
    .NarrowOut(NarrowOut)
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
    .Slices(BeatParts),
    .Width(Width)
  ) u_slice (
    .data_i(in_data_i),
    .index_i(SliceBits'(index)),
    .slice_o(part)
  );
  always_ff @(posedge clk_i) part_o <= part;

endmodule
