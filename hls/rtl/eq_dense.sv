// Dense layer with weights in memory, then eq_post: eq_mvu on a vector a beat. Its accumulators hold any exact sum.
// Latency and throughput as eq_mvu: (Outputs/Pe)*(Channels/Simd) cycles a vector.
module eq_dense #(
  /// Input channels.
  parameter int unsigned Channels = 4,
  /// Output channels.
  parameter int unsigned Outputs = 4,
  /// Output channels at a time, as eq_mvu.
  parameter int unsigned Pe = 1,
  /// Terms at a time, as eq_mvu.
  parameter int unsigned Simd = 1,
  /// Bits of an input channel.
  parameter int unsigned XBits = 8,
  /// Code of the input, as eq_decode.
  parameter int unsigned XKind = 0,
  /// Bits of a weight.
  parameter int unsigned WBits = 8,
  /// Code of a weight, as eq_dot.
  parameter int unsigned WKind = 1,
  /// Signed digits of a weight; 1 where its code is another.
  parameter int unsigned Digits = 1,
  /// The largest shift of a digit.
  parameter int unsigned MaxShift = 0,
  /// Beats carry Simd channels, and Pe output channels; else all of a vector.
  parameter bit          Narrow = 1'b0,
  /// Bits of an accumulator, two's complement.
  parameter int unsigned AccBits = 20,
  /// Bits of an output channel.
  parameter int unsigned OutBits = 20,
  /// Fused operator, as eq_post.
  parameter logic [511:0] Post = {1'b1, 511'b0},
  /// Image of the weights, as eq_mvu.
  parameter WeightFile = "",
  /// The weights lie in block RAM also where they are few words.
  parameter bit          WeightBlock = 1'b0,
  /// Image of the parameters of the fused operator.
  parameter PostFile = "",
  /// Channels of an input beat; derived, do not set.
  parameter int unsigned BeatChannels = Narrow ? Simd : Channels,
  /// Channels of an output beat; derived, do not set.
  parameter int unsigned BeatOutputs = Narrow ? Pe : Outputs
) (
  /// Clock.
  input  logic                                 clk_i,
  /// Synchronous reset, active low.
  input  logic                                 rst_ni,
  /// Input stream.
  input  logic                                 in_valid_i,
  /// Input stream.
  output logic                                 in_ready_o,
  /// Input stream.
  input  logic [BeatChannels*XBits-1:0]        in_data_i,
  /// Output stream.
  output logic                                 out_valid_o,
  /// Output stream.
  input  logic                                 out_ready_i,
  /// Output stream.
  output logic [BeatOutputs*OutBits-1:0]       out_data_o
);

  eq_mvu #(
    .Channels(Channels),
    .Outputs(Outputs),
    .Pe(Pe),
    .Simd(Simd),
    .XBits(XBits),
    .XKind(XKind),
    .WBits(WBits),
    .WKind(WKind),
    .Digits(Digits),
    .MaxShift(MaxShift),
    .Narrow(Narrow),
    .AccBits(AccBits),
    .OutBits(OutBits),
    .Post(Post),
    .WeightFile(WeightFile),
    .WeightBlock(WeightBlock),
    .PostFile(PostFile)
  ) u_mvu (
    .clk_i,
    .rst_ni,
    .in_valid_i,
    .in_ready_o,
    .in_data_i,
    .in_mask_i(1'b1),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
