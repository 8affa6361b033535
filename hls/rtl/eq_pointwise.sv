// A stream through eq_post: the operators Threshold and Requantize on their own, all channels of a pixel at a time. Behind a
// convolution or dense layer, fuse it into the layer instead.
// Latency at most 5 cycles; one pixel a cycle.
module eq_pointwise #(
  /// Channels.
  parameter int unsigned Channels = 1,
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
  /// Its parameters: one word, channel 0 lowest.
  parameter File = ""
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
  input  logic [Channels*InBits-1:0]  in_data_i,
  /// Output stream.
  output logic                        out_valid_o,
  /// Output stream.
  input  logic                        out_ready_i,
  /// Output stream.
  output logic [Channels*OutBits-1:0] out_data_o
);

  logic take, valid_q, valid;
  logic [Channels*ValueBits-1:0] values, values_q;
  logic [Channels*OutBits-1:0] y;
  assign take = in_valid_i && in_ready_o;

  for (genvar c = 0; c < Channels; c++) begin : gen_channel
    eq_decode #(
      .InBits(InBits),
      .Kind(InKind),
      .OutBits(ValueBits)
    ) u_decode (
      .code_i(in_data_i[c*InBits +: InBits]),
      .value_o(values[c*ValueBits +: ValueBits])
    );
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= 1'b0;
    else valid_q <= take;
  end
  always_ff @(posedge clk_i) values_q <= values;

  eq_post #(
    .Lanes(Channels),
    .InBits(ValueBits),
    .OutBits(OutBits),
    .Post(Post),
    .File(File)
  ) u_post (
    .clk_i,
    .rst_ni,
    .next_index_i(1'b0),
    .valid_i(valid_q),
    .x_i(values_q),
    .valid_o(valid),
    .y_o(y)
  );

  eq_outfifo #(
    .Width(Channels * OutBits),
    .Depth(6)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(in_ready_o),
    .take_i(take),
    .push_i(valid),
    .data_i(y),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
