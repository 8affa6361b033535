// A stream through eq_post: the operators Threshold and Requantize on their own, Pe channels a cycle. Behind a convolution or
// dense layer, fuse it into the layer instead.
// Latency at most Channels/Pe + 4 cycles; exactly Channels/Pe cycles a pixel.
module eq_pointwise #(
  /// Channels.
  parameter int unsigned Channels = 1,
  /// Channels at a time: a divisor of Channels.
  parameter int unsigned Pe = 1,
  /// A beat carries Pe channels; else all of a pixel.
  parameter bit          Narrow = 1'b0,
  /// Bits of an input channel.
  parameter int unsigned InBits = 8,
  /// Code of the input, as eq_decode.
  parameter int unsigned InKind = 0,
  /// Bits of the input's value, two's complement.
  parameter int unsigned ValueBits = 9,
  /// Bits of an output channel.
  parameter int unsigned OutBits = 1,
  /// Operator, as eq_post.
  parameter logic [511:0] Post = {1'b1, 511'b0},
  /// Its parameters: a word for every Pe channels, the lowest channel lowest.
  parameter File = "",
  /// Channels of a beat; derived, do not set.
  parameter int unsigned BeatChannels = Narrow ? Pe : Channels
) (
  /// Clock.
  input  logic                        clk_i,
  /// Synchronous reset, active low.
  input  logic                        rst_ni,
  /// Input stream.
  input  logic                        in_valid_i,
  /// Input stream.
  output logic                        in_ready_o,
  /// Input stream.
  input  logic [BeatChannels*InBits-1:0]  in_data_i,
  /// Output stream.
  output logic                        out_valid_o,
  /// Output stream.
  input  logic                        out_ready_i,
  /// Output stream.
  output logic [BeatChannels*OutBits-1:0] out_data_o
);

  localparam int unsigned Steps = Channels / Pe;
  localparam int unsigned StepBits = Steps > 1 ? $clog2(Steps) : 1;
  localparam int unsigned Parts = BeatChannels / Pe;
  localparam int unsigned PartBits = Parts > 1 ? $clog2(Parts) : 1;
  // From a beat's credit to its return: its steps and five cycles.
  localparam int unsigned FifoDepth = Parts > 1 ? 5 / Parts + 2 : 6;

  if (Channels % Pe != 0) begin : gen_bad
    $fatal(1, "eq_pointwise: Pe %0d does not divide %0d channels", Pe, Channels);
  end

  logic credit, step, first, last, valid_q, valid, push;
  logic [StepBits-1:0] index;
  logic [Pe*InBits-1:0] codes, codes_q;
  logic [Pe*ValueBits-1:0] values;
  logic [Pe*OutBits-1:0] y;
  logic [BeatChannels*OutBits-1:0] beat;
  logic unused;
  assign unused = last;

  eq_steps #(
    .Steps(Steps),
    .NarrowIn(Narrow),
    .NarrowOut(Narrow)
  ) u_steps (
    .clk_i,
    .rst_ni,
    .in_valid_i,
    .in_ready_o,
    .credit_i(credit),
    .step_o(step),
    .first_o(first),
    .last_o(last),
    .index_o(index)
  );

  eq_slice #(
    .Slices(Parts),
    .Width(Pe * InBits)
  ) u_slice (
    .data_i(in_data_i),
    .index_i(PartBits'(index)),
    .slice_o(codes)
  );

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= 1'b0;
    else valid_q <= step;
  end
  always_ff @(posedge clk_i) codes_q <= codes;

  for (genvar p = 0; p < Pe; p++) begin : gen_lane
    eq_decode #(
      .InBits(InBits),
      .Kind(InKind),
      .OutBits(ValueBits)
    ) u_decode (
      .code_i(codes_q[p*InBits +: InBits]),
      .value_o(values[p*ValueBits +: ValueBits])
    );
  end

  eq_post #(
    .Lanes(Pe),
    .Indices(Steps),
    .InBits(ValueBits),
    .OutBits(OutBits),
    .Post(Post),
    .File(File)
  ) u_post (
    .clk_i,
    .rst_ni,
    .next_index_i(index),
    .valid_i(valid_q),
    .x_i(values),
    .valid_o(valid),
    .y_o(y)
  );

  eq_collect #(
    .Parts(Parts),
    .Width(Pe * OutBits)
  ) u_collect (
    .clk_i,
    .rst_ni,
    .valid_i(valid),
    .data_i(y),
    .valid_o(push),
    .data_o(beat)
  );

  eq_outfifo #(
    .Width(BeatChannels * OutBits),
    .Depth(FifoDepth)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(credit),
    .take_i(Narrow ? step : first),
    .push_i(push),
    .data_i(beat),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
