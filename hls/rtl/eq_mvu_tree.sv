// Folded matrix-vector unit of {-1, +1} by {-1, +1} along a spanning tree: a channel is +/- its parent plus the terms in which
// their weights differ, and only those take cycles. The terms of a patch lie in Lanes banks; each cycle every lane of every one
// of Pe channels picks a term of its bank, as the code says (an entry a lane: weight, then address; a lane without a term reads
// the word `Words`, which is 0, with weight 1). A step is Pe channels; its sums are finished one after the other.
// The code guarantees: each step has Pe cycles or more, a parent's sum is handed over two cycles before it is needed, and
// Cycles >= Words. Where no channel resembles another, eq_mvu is smaller. Two patches are held here; the source may change after in_ready_o.
// Latency Words + Cycles + Pe + 12 cycles at most; exactly Cycles cycles a patch.
module eq_mvu_tree #(
  /// Output channels.
  parameter int unsigned Outputs = 4,
  /// Banks, and so terms of a channel at a time.
  parameter int unsigned Lanes = 7,
  /// Terms of a bank, at most 31.
  parameter int unsigned Words = 1,
  /// Output channels at a time.
  parameter int unsigned Pe = 1,
  /// Steps of a patch: Pe * Steps slots, of which Outputs are channels.
  parameter int unsigned Steps = 4,
  /// Words of the code: cycles a patch.
  parameter int unsigned Cycles = 8,
  /// Bits of the largest count of a channel's terms.
  parameter int unsigned CountBits = 4,
  /// Bits of an accumulator, two's complement.
  parameter int unsigned AccBits = 8,
  /// Different kinds of patches at the border, each with its constant a channel; 1: none.
  parameter int unsigned Classes = 1,
  /// Bits of such a constant, two's complement.
  parameter int unsigned BorderBits = 1,
  /// Bits of an output channel.
  parameter int unsigned OutBits = 8,
  /// Fused operator, as eq_post.
  parameter logic [511:0] Post = {1'b1, 511'b0},
  /// Image of the code, a word a cycle: entry p*Lanes + l lowest first, then a bit that ends the step.
  parameter CodeFile = "",
  /// Image of the slots: bias, slot of the parent, negate the parent, no parent, is a channel; lowest first.
  parameter SlotFile = "",
  /// Image of the constants: word class * Pe * Steps + slot.
  parameter BorderFile = "",
  /// Image of the parameters of the fused operator, a word a slot.
  parameter PostFile = "",
  /// Bits of a class; derived, do not set.
  parameter int unsigned ClassBits = Classes > 1 ? $clog2(Classes) : 1
) (
  /// Clock.
  input  logic                       clk_i,
  /// Synchronous reset, active low.
  input  logic                       rst_ni,
  /// Input stream.
  input  logic                       in_valid_i,
  /// Input stream; high in the last of the Words cycles in which a patch is read.
  output logic                       in_ready_o,
  /// Input stream: a patch, term l of word w at w*Lanes + l.
  input  logic [Words*Lanes-1:0]     in_data_i,
  /// Its class.
  input  logic [ClassBits-1:0]       in_class_i,
  /// Output stream.
  output logic                       out_valid_o,
  /// Output stream.
  input  logic                       out_ready_i,
  /// Output stream: the channels in the order of their slots.
  output logic [Outputs*OutBits-1:0] out_data_o
);

  localparam int unsigned WordBits = $clog2(Words + 1);
  localparam int unsigned EntryBits = WordBits + 1;
  localparam int unsigned PcBits = Cycles > 1 ? $clog2(Cycles) : 1;
  localparam int unsigned Slots = Pe * Steps;
  localparam int unsigned SlotBits = Slots > 1 ? $clog2(Slots) : 1;
  localparam int unsigned LeftBits = $clog2(Pe + 1);
  // From a patch's credit to its push: its cycles, and at most this many of pipeline.
  localparam int unsigned Latency = Pe + 12;
  localparam int unsigned FifoDepth = (Latency + 2 * Cycles) / Cycles + 1;

  // Reading patches into one half of the banks while the other half is in use.
  logic [1:0] full_q;
  logic [WordBits-1:0] word_q;
  logic load_half_q, half_q, load, last_word;
  logic [1:0][ClassBits-1:0] class_q;
  logic [Lanes-1:0] word;

  // Where in the code.
  logic [PcBits-1:0] pc_q;
  logic credit, step, first_pc, last_pc;

  assign last_word = word_q == WordBits'(Words - 1);
  assign load = in_valid_i && !full_q[load_half_q];
  assign in_ready_o = last_word && !full_q[load_half_q];
  assign first_pc = pc_q == '0;
  assign last_pc = pc_q == PcBits'(Cycles - 1);
  assign step = full_q[half_q] && (credit || !first_pc);
  if (Words == 1) begin : gen_one_word
    assign word = in_data_i;
  end else begin : gen_word
    assign word = in_data_i[word_q*Lanes +: Lanes];
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      full_q <= '0;
      word_q <= '0;
      load_half_q <= 1'b0;
      half_q <= 1'b0;
      pc_q <= '0;
    end else begin
      if (load) begin
        word_q <= last_word ? '0 : word_q + 1'b1;
        if (last_word) begin
          full_q[load_half_q] <= 1'b1;
          load_half_q <= !load_half_q;
        end
      end
      if (step) begin
        pc_q <= last_pc ? '0 : pc_q + 1'b1;
        if (last_pc) begin
          full_q[half_q] <= 1'b0;
          half_q <= !half_q;
        end
      end
    end
  end
  always_ff @(posedge clk_i) if (load) class_q[load_half_q] <= in_class_i;

  // Stage 1: the code.
  logic [Pe*Lanes*EntryBits:0] code;
  logic valid1_q, half1_q, valid2_q, last2_q, valid3_q, last3_q, first3_q;
  logic [ClassBits-1:0] class1_q, class2_q, class3_q;
  eq_rom #(
    .Width(Pe * Lanes * EntryBits + 1),
    .Depth(Cycles),
    .File(CodeFile)
  ) u_code (
    .clk_i,
    .addr_i(pc_q),
    .data_o(code)
  );
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid1_q <= 1'b0;
      valid2_q <= 1'b0;
      valid3_q <= 1'b0;
      first3_q <= 1'b1;
    end else begin
      valid1_q <= step;
      valid2_q <= valid1_q;
      valid3_q <= valid2_q;
      if (valid3_q) first3_q <= last3_q;
    end
  end
  always_ff @(posedge clk_i) begin
    half1_q <= half_q;
    class1_q <= class_q[half_q];
    class2_q <= class1_q;
    class3_q <= class2_q;
    last2_q <= code[Pe*Lanes*EntryBits];
    last3_q <= last2_q;
  end

  // Stage 2: terms and weights. Stage 3: equal bits. Then the sum of a step, handed over to a chain that moves down.
  logic [LeftBits-1:0] left_q;
  logic [CountBits-1:0] chain [Pe+1];
  logic capture, emit;
  assign capture = valid3_q && last3_q;
  assign emit = left_q != '0;
  assign chain[Pe] = '0;
  for (genvar p = 0; p < Pe; p++) begin : gen_pe
    localparam int unsigned EqualBits = $clog2(Lanes + 1);
    localparam int unsigned SumBits = CountBits > EqualBits ? CountBits : EqualBits;
    logic [Lanes-1:0] terms, terms_q, weights, weights_q;
    logic [Lanes*(WordBits+1)-1:0] raddr;
    logic [EqualBits-1:0] equal, equal_q;
    logic [SumBits-1:0] sum, sum_q;
    logic [CountBits-1:0] chain_q;
    for (genvar l = 0; l < Lanes; l++) begin : gen_lane
      assign {weights[l], raddr[l*(WordBits+1) +: WordBits]} = code[(p*Lanes + l)*EntryBits +: EntryBits];
      assign raddr[l*(WordBits+1) + WordBits] = half1_q;
    end
    // Not in reset: the word of zeros must stay.
    eq_gather #(
      .Lanes(Lanes),
      .AddrBits(WordBits + 1)
    ) u_gather (
      .clk_i,
      .write_i(load && rst_ni),
      .waddr_i({load_half_q, word_q}),
      .wdata_i(word),
      .raddr_i(raddr),
      .rdata_o(terms)
    );
    eq_equal_count #(
      .Width(Lanes)
    ) u_equal (
      .a_i(terms_q),
      .b_i(weights_q),
      .count_o(equal)
    );
    assign sum = (first3_q ? '0 : sum_q) + SumBits'(equal_q);
    always_ff @(posedge clk_i) begin
      terms_q <= terms;
      weights_q <= weights;
      equal_q <= equal;
      if (valid3_q) sum_q <= sum;
      if (capture) chain_q <= sum[CountBits-1:0];
      else if (emit) chain_q <= chain[p+1];
    end
    if (SumBits > CountBits) begin : gen_unused
      logic unused_sum;
      assign unused_sum = ^sum[SumBits-1:CountBits];
    end
    assign chain[p] = chain_q;
  end

  // Stage 4: slot by slot. The slot's word is there in the cycle of its count.
  logic [SlotBits-1:0] slot_q, slot_d, slot5_q, slot6_q, parent;
  logic [ClassBits-1:0] class4_q;
  logic is_channel, no_parent, negate;
  logic signed [AccBits-1:0] bias;
  assign slot_d = !emit ? slot_q : slot_q == SlotBits'(Slots - 1) ? '0 : slot_q + 1'b1;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      slot_q <= '0;
      left_q <= '0;
    end else begin
      slot_q <= slot_d;
      if (capture) left_q <= LeftBits'(Pe);
      else if (emit) left_q <= left_q - 1'b1;
    end
  end
  always_ff @(posedge clk_i) if (capture) class4_q <= class3_q;
  eq_rom #(
    .Width(AccBits + SlotBits + 3),
    .Depth(Slots),
    .File(SlotFile)
  ) u_slots (
    .clk_i,
    .addr_i(rst_ni ? slot_d : '0),
    .data_o({is_channel, no_parent, negate, parent, bias})
  );

  // Stage 5: the parent's sum, and with it the channel's.
  logic valid5_q, root5_q, negate5_q, valid6_q;
  logic [CountBits-1:0] count5_q;
  logic [AccBits-1:0] above, link, y5;
  logic signed [AccBits-1:0] bias5_q, y6_q;
  eq_ram #(
    .Width(AccBits),
    .Depth(Slots > 1 ? Slots : 2)
  ) u_sums (
    .clk_i,
    .write_i(valid5_q),
    .waddr_i(slot5_q),
    .wdata_i(y5),
    .read_i(1'b1),
    .raddr_i(parent),
    .rdata_o(above)
  );
  assign link = root5_q ? '0 : negate5_q ? ~above : above;
  assign y5 = link + bias5_q + (root5_q ? AccBits'({count5_q, 1'b0}) : AccBits'({count5_q, 2'b00}));
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      valid5_q <= 1'b0;
      valid6_q <= 1'b0;
    end else begin
      valid5_q <= emit && is_channel;
      valid6_q <= valid5_q;
    end
  end
  always_ff @(posedge clk_i) begin
    root5_q <= no_parent;
    negate5_q <= negate;
    count5_q <= chain[0];
    bias5_q <= bias;
    slot5_q <= slot_q;
    slot6_q <= slot5_q;
    y6_q <= y5;
  end

  // Stage 6: what a patch at the border lacks.
  logic signed [AccBits-1:0] y7;
  logic valid7;
  logic [SlotBits-1:0] index;
  if (Classes == 1) begin : gen_inside
    logic unused;
    assign unused = ^{class4_q, slot6_q};
    assign y7 = y6_q;
    assign valid7 = valid6_q;
    assign index = slot5_q;
  end else begin : gen_border
    localparam int unsigned Constants = Classes * Slots;
    logic [ClassBits-1:0] class5_q;
    logic signed [BorderBits-1:0] constant;
    logic valid7_q;
    logic signed [AccBits-1:0] y7_q;
    eq_rom #(
      .Width(BorderBits),
      .Depth(Constants),
      .File(BorderFile)
    ) u_border (
      .clk_i,
      .addr_i($clog2(Constants)'(class5_q) * $clog2(Constants)'(Slots) + $clog2(Constants)'(slot5_q)),
      .data_o(constant)
    );
    always_ff @(posedge clk_i) begin
      class5_q <= class4_q;
      y7_q <= y6_q + AccBits'(constant);
    end
    always_ff @(posedge clk_i) begin
      if (!rst_ni) valid7_q <= 1'b0;
      else valid7_q <= valid6_q;
    end
    assign y7 = y7_q;
    assign valid7 = valid7_q;
    assign index = slot6_q;
  end

  // Stage 7: the fused operator, and the channels of a pixel come together.
  logic y_valid, push;
  logic [OutBits-1:0] y;
  logic [Outputs*OutBits-1:0] pixel;
  eq_post #(
    .Indices(Slots),
    .InBits(AccBits),
    .OutBits(OutBits),
    .Post(Post),
    .File(PostFile)
  ) u_post (
    .clk_i,
    .rst_ni,
    .next_index_i(index),
    .valid_i(valid7),
    .x_i(y7),
    .valid_o(y_valid),
    .y_o(y)
  );

  eq_collect #(
    .Parts(Outputs),
    .Width(OutBits)
  ) u_collect (
    .clk_i,
    .rst_ni,
    .valid_i(y_valid),
    .data_i(y),
    .valid_o(push),
    .data_o(pixel)
  );

  eq_outfifo #(
    .Width(Outputs * OutBits),
    .Depth(FifoDepth)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(credit),
    .take_i(step && first_pc),
    .push_i(push),
    .data_i(pixel),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
