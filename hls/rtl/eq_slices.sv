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
  /// It is taken, in the beat's first cycle.
  output logic                   take_o,
  /// This is a beat's last cycle.
  output logic                   last_o,
  /// A part is read: it is there in the next cycle.
  output logic                   step_o,
  /// The part read in the cycle before.
  output logic [Width-1:0]       part_o
);

  localparam int unsigned StepBits = Parts > 1 ? $clog2(Parts) : 1;

  logic [StepBits-1:0] step_q;
  logic ready, last;
  logic [Width-1:0] part;
  assign ready = credit_i || step_q != '0;
  assign last = step_q == StepBits'(Parts - 1);
  assign step_o = in_valid_i && ready;
  assign in_ready_o = last && ready;
  assign take_o = step_o && step_q == '0;
  assign last_o = step_o && last;
  always_ff @(posedge clk_i) begin
    if (!rst_ni || last_o) step_q <= '0;
    else if (step_o) step_q <= step_q + 1'b1;
  end

  if (Parts == 1) begin : gen_whole
    assign part = in_data_i;
  end else begin : gen_selected
    // Each part begins at a multiple of a power of two, as in eq_mvu.
    localparam int unsigned Pitch = 1 << $clog2(Width);
    logic [Parts*Pitch-1:0] padded;
    for (genvar k = 0; k < Parts; k++) begin : gen_pad
      assign padded[k*Pitch +: Pitch] = Pitch'(in_data_i[k*Width +: Width]);
    end
    assign part = padded[step_q*Pitch +: Width];
  end
  always_ff @(posedge clk_i) part_o <= part;

endmodule
