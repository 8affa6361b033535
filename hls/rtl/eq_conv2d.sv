// Convolution with weights in memory, zero padding, stride, dilation and groups, then eq_post: eq_window, a few patches and
// eq_mvu. Its accumulators hold any exact sum. For weights as logic see the generated eq_unrolled modules.
// Latency: the window's, (Outputs/Pe)*(terms/Simd) cycles and at most 12 + ceil(log4(Simd * Digits)); a frame takes the larger of the
// window's cycles and (Outputs/Pe)*(terms/Simd) cycles a patch, and what of the window's first rows the patches do not cover.
module eq_conv2d #(
  /// Rows of the image.
  parameter int unsigned H = 4,
  /// Columns of the image.
  parameter int unsigned W = 4,
  /// Rows of the kernel.
  parameter int unsigned Kh = 1,
  /// Columns of the kernel.
  parameter int unsigned Kw = 1,
  /// Stride down.
  parameter int unsigned Sh = 1,
  /// Stride across.
  parameter int unsigned Sw = 1,
  /// Dilation down.
  parameter int unsigned Dh = 1,
  /// Dilation across.
  parameter int unsigned Dw = 1,
  /// Padding above.
  parameter int unsigned PadT = 0,
  /// Padding on the left.
  parameter int unsigned PadL = 0,
  /// Padding below.
  parameter int unsigned PadB = 0,
  /// Padding on the right.
  parameter int unsigned PadR = 0,
  /// Input channels.
  parameter int unsigned Channels = 4,
  /// Groups of channels.
  parameter int unsigned Groups = 1,
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
  parameter PostFile = ""
) (
  /// Clock.
  input  logic                       clk_i,
  /// Synchronous reset, active low.
  input  logic                       rst_ni,
  /// Input stream.
  input  logic                       in_valid_i,
  /// Input stream.
  output logic                       in_ready_o,
  /// Input stream.
  input  logic [Channels*XBits-1:0]  in_data_i,
  /// Output stream.
  output logic                       out_valid_o,
  /// Output stream.
  input  logic                       out_ready_i,
  /// Output stream.
  output logic [Outputs*OutBits-1:0] out_data_o
);

  localparam int unsigned Taps = Kh * Kw;
  localparam int unsigned PatchBits = Taps * Channels * XBits;
  // Only a bipolar code has no zero: elsewhere the window's code 0 is the padding.
  localparam bit Masked = XKind == 2 && PadT + PadL + PadB + PadR > 0;
  // A patch a cycle needs 4; where a patch takes longer, the patches that one LUT RAM holds hide the window's row changes.
  localparam int unsigned PatchDepth = Pe == Outputs && Simd * Groups == Taps * Channels ? 4 : 32;
  localparam int unsigned WordBits = Masked ? PatchBits + Taps : PatchBits;

  logic credit, take, push, patch_valid, patch_ready;
  logic [PatchBits-1:0] window;
  logic [Taps-1:0] window_mask, mask;
  logic [WordBits-1:0] word_in, word;

  eq_window #(
    .PixBits(Channels * XBits),
    .H(H),
    .W(W),
    .Kh(Kh),
    .Kw(Kw),
    .Sh(Sh),
    .Sw(Sw),
    .Dh(Dh),
    .Dw(Dw),
    .PadT(PadT),
    .PadL(PadL),
    .PadB(PadB),
    .PadR(PadR)
  ) u_window (
    .clk_i,
    .rst_ni,
    .in_valid_i,
    .in_ready_o,
    .in_data_i,
    .credit_i(credit),
    .take_o(take),
    .valid_o(push),
    .patch_o(window),
    .mask_o(window_mask)
  );

  if (Masked) begin : gen_masked
    assign word_in = {window_mask, window};
    assign mask = word[WordBits-1:PatchBits];
  end else begin : gen_whole
    logic unused;
    assign unused = ^window_mask;
    assign word_in = window;
    assign mask = '1;
  end

  eq_outfifo #(
    .Width(WordBits),
    .Depth(PatchDepth)
  ) u_patches (
    .clk_i,
    .rst_ni,
    .credit_o(credit),
    .take_i(take),
    .push_i(push),
    .data_i(word_in),
    .out_valid_o(patch_valid),
    .out_ready_i(patch_ready),
    .out_data_o(word)
  );

  eq_mvu #(
    .Taps(Taps),
    .Channels(Channels),
    .Groups(Groups),
    .Outputs(Outputs),
    .Pe(Pe),
    .Simd(Simd),
    .XBits(XBits),
    .XKind(XKind),
    .WBits(WBits),
    .WKind(WKind),
    .Digits(Digits),
    .MaxShift(MaxShift),
    .Masked(Masked),
    .AccBits(AccBits),
    .OutBits(OutBits),
    .Post(Post),
    .WeightFile(WeightFile),
    .WeightBlock(WeightBlock),
    .PostFile(PostFile)
  ) u_mvu (
    .clk_i,
    .rst_ni,
    .in_valid_i(patch_valid),
    .in_ready_o(patch_ready),
    .in_data_i(word[PatchBits-1:0]),
    .in_mask_i(mask),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
