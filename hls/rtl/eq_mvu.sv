// Folded matrix-vector unit: Pe output channels by Simd terms a cycle, weights in memory, then eq_post. A beat is a patch, tap
// by tap; grouped and depthwise weights too. The patch stays in the source until its last cycle: put an eq_outfifo there. Or a
// beat is Simd terms of a vector, of which two are stored, and Pe output channels.
// Latency (Outputs/Pe)*(terms/Simd) + 8 + ceil(log4(Simd * Digits)) cycles at most; exactly (Outputs/Pe)*(terms/Simd) cycles a patch.
module eq_mvu #(
  /// Taps of a patch.
  parameter int unsigned Taps = 1,
  /// Channels of a tap.
  parameter int unsigned Channels = 4,
  /// Groups of channels; Channels and Outputs are multiples.
  parameter int unsigned Groups = 1,
  /// Output channels.
  parameter int unsigned Outputs = 4,
  /// Output channels at a time: a divisor of Outputs/Groups, or a multiple of it that divides Outputs.
  parameter int unsigned Pe = 1,
  /// Terms at a time: a divisor of Taps*Channels/Groups.
  parameter int unsigned Simd = 1,
  /// Bits of x.
  parameter int unsigned XBits = 8,
  /// Code of x, as eq_decode.
  parameter int unsigned XKind = 0,
  /// Bits of a weight.
  parameter int unsigned WBits = 8,
  /// Code of a weight, as eq_dot.
  parameter int unsigned WKind = 1,
  /// Signed digits of a weight; 1 where its code is another.
  parameter int unsigned Digits = 1,
  /// The largest shift of a digit.
  parameter int unsigned MaxShift = 0,
  /// Taps whose mask bit is 0 count 0.
  parameter bit          Masked = 1'b0,
  /// Beats carry Simd terms and Pe output channels; of one tap, one group and no mask.
  parameter bit          Narrow = 1'b0,
  /// Bits of an accumulator, two's complement.
  parameter int unsigned AccBits = 20,
  /// Bits of an output channel.
  parameter int unsigned OutBits = 20,
  /// Fused operator, as eq_post.
  parameter logic [511:0] Post = {1'b1, 511'b0},
  /// Image of the weights: word nf*SF + sf, channel nf*Pe + p and term sf*Simd + s at [(p*Simd + s)*WBits +: WBits].
  parameter WeightFile = "",
  /// The weights lie in block RAM also where they are few words.
  parameter bit          WeightBlock = 1'b0,
  /// Image of the parameters of the fused operator.
  parameter PostFile = "",
  /// Terms of an input beat; derived, do not set.
  parameter int unsigned BeatTerms = Narrow ? Simd : Taps * Channels,
  /// Channels of an output beat; derived, do not set.
  parameter int unsigned BeatOutputs = Narrow ? Pe : Outputs
) (
  /// Clock.
  input  logic                           clk_i,
  /// Synchronous reset, active low.
  input  logic                           rst_ni,
  /// Input stream.
  input  logic                           in_valid_i,
  /// Input stream; high in a patch's last cycle, or where terms can be stored.
  output logic                           in_ready_o,
  /// Input stream: a patch, or terms of a vector.
  input  logic [BeatTerms*XBits-1:0]     in_data_i,
  /// Its mask, a bit a tap.
  input  logic [Taps-1:0]                in_mask_i,
  /// Output stream.
  output logic                           out_valid_o,
  /// Output stream.
  input  logic                           out_ready_i,
  /// Output stream.
  output logic [BeatOutputs*OutBits-1:0] out_data_o
);

  localparam int unsigned GroupChannels = Channels / Groups;
  localparam int unsigned GroupOutputs = Outputs / Groups;
  localparam int unsigned Terms = Taps * GroupChannels;
  localparam int unsigned Nf = Outputs / Pe;
  localparam int unsigned Sf = Terms / Simd;
  localparam int unsigned Steps = Nf * Sf;
  localparam int unsigned Spans = Pe > GroupOutputs ? Pe / GroupOutputs : 1;
  localparam int unsigned GroupSteps = Groups / Spans;
  localparam int unsigned Slices = Groups * Sf;
  localparam bit Binary = XKind == 2 && WKind == 2;
  // From a beat's credit to its push: its steps, and at most this many cycles of pipeline.
  localparam int unsigned Latency = 8 + ($clog2(Simd * Digits) + 1) / 2;
  localparam int unsigned BeatSteps = Narrow ? Sf : Steps;
  localparam int unsigned FifoDepth = (Latency + 2 * BeatSteps) / BeatSteps + 1;

  if (Channels % Groups != 0 || Outputs % Groups != 0 || Outputs % Pe != 0 || Terms % Simd != 0 ||
      (GroupOutputs % Pe != 0 && Pe % GroupOutputs != 0) ||
      (Narrow && (Taps != 1 || Groups != 1 || Masked || Binary))) begin : gen_bad_fold
    $fatal(1, "eq_mvu: Pe %0d and Simd %0d do not fold %0d outputs of %0d terms in %0d groups", Pe, Simd, Outputs, Terms, Groups);
  end

  localparam int unsigned StepBits = Steps > 1 ? $clog2(Steps) : 1;
  localparam int unsigned SliceBits = $clog2(Slices + 1);
  localparam int unsigned SfBits = Sf > 1 ? $clog2(Sf) : 1;
  localparam int unsigned NfBits = Nf > 1 ? $clog2(Nf) : 1;
  localparam int unsigned RepeatBits = Nf / GroupSteps > 1 ? $clog2(Nf / GroupSteps) : 1;

  // Where in the patch: the weight address, the term fold, the channel folds done of this group, the group's first slice.
  logic [StepBits-1:0] step_q;
  logic [SfBits-1:0] sf_q;
  logic [RepeatBits-1:0] repeat_q;
  logic [SliceBits-1:0] base_q;
  logic credit, patch_valid, step, first_step, last_step, last_sf, last_repeat;

  assign first_step = Narrow ? sf_q == '0 : step_q == '0; // of an output beat
  assign last_step = step_q == StepBits'(Steps - 1);
  assign last_sf = sf_q == SfBits'(Sf - 1);
  assign last_repeat = repeat_q == RepeatBits'(Nf / GroupSteps - 1);
  assign step = patch_valid && (credit || !first_step);

  always_ff @(posedge clk_i) begin
    if (!rst_ni || (step && last_step)) begin
      step_q <= '0;
      sf_q <= '0;
      repeat_q <= '0;
      base_q <= '0;
    end else if (step) begin
      step_q <= step_q + 1'b1;
      sf_q <= last_sf ? '0 : sf_q + 1'b1;
      if (last_sf) begin
        repeat_q <= last_repeat ? '0 : repeat_q + 1'b1;
        if (last_repeat) base_q <= base_q + SliceBits'(Spans * Sf);
      end
    end
  end

  // The operands of this cycle.
  logic [Spans*Simd*XBits-1:0] slices_q;
  logic [Simd-1:0] mask_q;
  if (Narrow) begin : gen_stored
    logic [SfBits-1:0] unused_slice;
    logic [3:0] unused_place;
    logic unused;
    assign unused = ^{in_mask_i, base_q, unused_slice, unused_place};
    assign mask_q = '1;
    eq_token_store #(
      .Slices(Sf),
      .Width(Simd * XBits),
      .Tokens(1),
      .Narrow(1'b1)
    ) u_vector (
      .clk_i,
      .rst_ni,
      .in_valid_i,
      .in_ready_o,
      .in_data_i,
      .there_o(patch_valid),
      .read_i(step),
      .release_i(last_step),
      .slice_o(unused_slice),
      .first_slice_o(unused_place[0]),
      .last_slice_o(unused_place[1]),
      .first_token_o(unused_place[2]),
      .last_token_o(unused_place[3]),
      .data_o(slices_q)
    );
  end else begin : gen_patch
    // The patch group by group, and of each group the slice of this cycle.
    logic [Groups*Terms*XBits-1:0] patch;
    logic [Terms-1:0] term_mask;
    logic [Spans*Simd*XBits-1:0] slices;
    logic [Simd-1:0] mask;
    assign patch_valid = in_valid_i;
    assign in_ready_o = last_step && (credit || !first_step);
    if (Groups == 1) begin : gen_whole
      assign patch = in_data_i;
    end else begin : gen_groups
      for (genvar g = 0; g < Groups; g++) begin : gen_group
        for (genvar t = 0; t < Taps; t++) begin : gen_tap
          assign patch[(g*Taps + t)*GroupChannels*XBits +: GroupChannels*XBits] =
            in_data_i[(t*Groups + g)*GroupChannels*XBits +: GroupChannels*XBits];
        end
      end
    end
    for (genvar t = 0; t < Taps; t++) begin : gen_term_mask
      assign term_mask[t*GroupChannels +: GroupChannels] = {GroupChannels{in_mask_i[t]}};
    end
    for (genvar s = 0; s < Spans; s++) begin : gen_slice
      if (Slices == Spans) begin : gen_fixed
        assign slices[s*Simd*XBits +: Simd*XBits] = patch[s*Simd*XBits +: Simd*XBits];
      end else begin : gen_selected
        // Each slice begins at a multiple of a power of two: Yosys makes a multiplexer of that, and a shifter of any other.
        localparam int unsigned Pitch = 1 << $clog2(Simd * XBits);
        logic [Slices*Pitch-1:0] padded;
        logic [SliceBits-1:0] index;
        assign index = base_q + SliceBits'(sf_q) + SliceBits'(s * Sf);
        for (genvar k = 0; k < Slices; k++) begin : gen_pad
          assign padded[k*Pitch +: Pitch] = Pitch'(patch[k*Simd*XBits +: Simd*XBits]);
        end
        assign slices[s*Simd*XBits +: Simd*XBits] = padded[index*Pitch +: Simd*XBits];
      end
    end
    if (Sf == 1) begin : gen_mask
      assign mask = term_mask;
    end else begin : gen_mask_slice
      assign mask = term_mask[sf_q*Simd +: Simd];
    end
    always_ff @(posedge clk_i) begin
      slices_q <= slices;
      mask_q <= mask;
    end
  end

  // An accumulator starts at 0; a binary one, which adds twice the equal bits, at minus the number of its terms.
  logic signed [AccBits-1:0] start;
  if (!Binary) begin : gen_start_integer
    assign start = '0;
  end else if (Masked) begin : gen_start_masked
    logic [$clog2(Taps+1)-1:0] real_taps;
    eq_popcount #(
      .Width(Taps)
    ) u_taps (
      .bits_i(in_mask_i),
      .count_o(real_taps)
    );
    assign start = -(AccBits'(real_taps) * AccBits'(GroupChannels));
  end else begin : gen_start_whole
    assign start = -AccBits'(Terms);
  end

  // Stage 1: operands.
  logic valid1_q, first1_q, last1_q;
  logic signed [AccBits-1:0] start1_q;
  logic [Pe*Simd*WBits-1:0] weights;
  eq_rom #(
    .Width(Pe * Simd * WBits),
    .Depth(Steps),
    .File(WeightFile),
    .Block(WeightBlock || Steps > 64)
  ) u_weights (
    .clk_i,
    .addr_i(step_q),
    .data_o(weights)
  );
  always_ff @(posedge clk_i) begin
    start1_q <= start;
    first1_q <= sf_q == '0;
    last1_q <= last_sf;
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid1_q <= 1'b0;
    else valid1_q <= step;
  end

  // Stage 2: dot products.
  logic valid2, first2, last2;
  logic signed [AccBits-1:0] start2;
  logic [Pe*AccBits-1:0] sums;
  eq_dot #(
    .Pe(Pe),
    .Simd(Simd),
    .Spans(Spans),
    .XBits(XBits),
    .XKind(XKind),
    .WBits(WBits),
    .WKind(WKind),
    .Digits(Digits),
    .MaxShift(MaxShift),
    .Masked(Masked),
    .SumBits(AccBits),
    .SideBits(2 + AccBits)
  ) u_dot (
    .clk_i,
    .rst_ni,
    .valid_i(valid1_q),
    .x_i(slices_q),
    .mask_i(mask_q),
    .weights_i(weights),
    .side_i({first1_q, last1_q, start1_q}),
    .valid_o(valid2),
    .sums_o(sums),
    .side_o({first2, last2, start2})
  );

  // Stage 3: accumulators.
  logic [Pe*AccBits-1:0] accs;
  logic acc_valid_q;
  logic [NfBits-1:0] nf_q;
  for (genvar p = 0; p < Pe; p++) begin : gen_acc
    logic signed [AccBits-1:0] acc_q;
    if (Sf == 1) begin : gen_single
      logic unused;
      assign unused = first2;
      always_ff @(posedge clk_i) acc_q <= start2 + signed'(sums[p*AccBits +: AccBits]);
    end else begin : gen_sum
      always_ff @(posedge clk_i) begin
        if (valid2) acc_q <= signed'(sums[p*AccBits +: AccBits]) + (first2 ? start2 : acc_q);
      end
    end
    assign accs[p*AccBits +: AccBits] = acc_q;
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      acc_valid_q <= 1'b0;
      nf_q <= '0;
    end else begin
      acc_valid_q <= valid2 && last2;
      if (valid2 && last2) nf_q <= nf_q == NfBits'(Nf - 1) ? '0 : nf_q + 1'b1;
    end
  end

  // Stage 4: the fused operator.
  logic y_valid, push;
  logic [Pe*OutBits-1:0] y;
  logic [BeatOutputs*OutBits-1:0] beat;
  eq_post #(
    .Lanes(Pe),
    .Indices(Nf),
    .InBits(AccBits),
    .OutBits(OutBits),
    .Post(Post),
    .File(PostFile)
  ) u_post (
    .clk_i,
    .rst_ni,
    .next_index_i(nf_q),
    .valid_i(acc_valid_q),
    .x_i(accs),
    .valid_o(y_valid),
    .y_o(y)
  );

  // Stage 5: the channels of a beat come together.
  eq_collect #(
    .Parts(Narrow ? 1 : Nf),
    .Width(Pe * OutBits)
  ) u_collect (
    .clk_i,
    .rst_ni,
    .valid_i(y_valid),
    .data_i(y),
    .valid_o(push),
    .data_o(beat)
  );

  eq_outfifo #(
    .Width(BeatOutputs * OutBits),
    .Depth(FifoDepth)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(credit),
    .take_i(step && first_step),
    .push_i(push),
    .data_i(beat),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
