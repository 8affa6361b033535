// The integer square root of every channel, rounded down, Pe channels a cycle. The pixel stays in the source until its last cycle.
// Latency Channels/Pe + Digits + 1 cycles, Digits being the bits of a root; exactly Channels/Pe cycles a pixel.
module eq_isqrt #(
  /// Channels.
  parameter int unsigned Channels = 1,
  /// Channels at a time: a divisor of Channels.
  parameter int unsigned Pe = 1,
  /// Bits of an input channel, unsigned.
  parameter int unsigned InBits = 8,
  /// Bits of an output channel; derived, do not set.
  parameter int unsigned Digits = (InBits + 1) / 2
) (
  /// Clock.
  input  logic                       clk_i,
  /// Synchronous reset, active low.
  input  logic                       rst_ni,
  /// Input stream.
  input  logic                       in_valid_i,
  /// Input stream; high in a pixel's last cycle.
  output logic                       in_ready_o,
  /// Input stream.
  input  logic [Channels*InBits-1:0] in_data_i,
  /// Output stream.
  output logic                       out_valid_o,
  /// Output stream.
  input  logic                       out_ready_i,
  /// Output stream.
  output logic [Channels*Digits-1:0] out_data_o
);

  localparam int unsigned Steps = Channels / Pe;
  localparam int unsigned Latency = Digits + 1;
  // From a pixel's credit to its return: its steps, the pipeline and a cycle.
  localparam int unsigned FifoDepth = (Latency + 1) / Steps + 2;

  logic credit, step, take, last, unused;
  logic [Pe*InBits-1:0] codes_q;
  logic [Latency-1:0] valid_q;

  // Stage 1: the channels of this cycle.
  eq_slices #(
    .Parts(Steps),
    .Width(Pe * InBits)
  ) u_slices (
    .clk_i,
    .rst_ni,
    .in_valid_i,
    .in_ready_o,
    .in_data_i,
    .credit_i(credit),
    .step_o(step),
    .first_o(take),
    .last_o(last),
    .part_o(codes_q)
  );
  assign unused = last;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else valid_q <= Latency'({valid_q, step});
  end

  // Their roots, a stage a digit.
  logic [Pe*Digits-1:0] roots;
  for (genvar p = 0; p < Pe; p++) begin : gen_lane
    eq_root #(
      .Bits(InBits)
    ) u_root (
      .clk_i,
      .first_i(1'b0),
      .x_i(codes_q[p*InBits +: InBits]),
      .root_o(roots[p*Digits +: Digits])
    );
  end

  // The channels of a pixel come together.
  logic push;
  logic [Channels*Digits-1:0] pixel;
  eq_collect #(
    .Parts(Steps),
    .Width(Pe * Digits)
  ) u_collect (
    .clk_i,
    .rst_ni,
    .valid_i(valid_q[Latency-1]),
    .data_i(roots),
    .valid_o(push),
    .data_o(pixel)
  );

  eq_outfifo #(
    .Width(Channels * Digits),
    .Depth(FifoDepth)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(credit),
    .take_i(take),
    .push_i(push),
    .data_i(pixel),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
