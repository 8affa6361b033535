// Layer normalization of a pixel over its channels, Pe channels a cycle: y = (d * F) >> (1 + Shift), d = x - mean, the mean
// rounded half to even, F = (2**31 - 1) / floor(sqrt(sum of d*d)). Five stages with a FIFO between any two work on as many pixels:
// the sum and mean, the sum of squares, its root (a digit a cycle), the reciprocal (a digit a cycle), the products. A pixel's
// channels wait for them in two memories.
// Latency 3*Channels/Pe + 2*ceil(log4(Pe)) + ceil(SquareBits/2) + 44 cycles; a pixel in Channels/Pe cycles, or 31 if that is more.
module eq_layer_norm #(
  /// Channels.
  parameter int unsigned Channels = 2,
  /// Channels at a time: a divisor of Channels.
  parameter int unsigned Pe = 1,
  /// A beat carries Pe channels; else all of a pixel.
  parameter bit          Narrow = 1'b0,
  /// Bits of an input channel.
  parameter int unsigned InBits = 8,
  /// Code of the input, as eq_decode.
  parameter int unsigned InKind = 0,
  /// Bits of d, two's complement.
  parameter int unsigned DiffBits = 9,
  /// Bits of the sum of d*d.
  parameter int unsigned SquareBits = 17,
  /// Bits of the sum of all x - Base, Base being an even number below every x, and of Channels/2.
  parameter int unsigned SumBits = 9,
  /// Channels/2 - Channels*Base, modulo 2**SumBits.
  parameter logic [63:0] Start = 64'd1,
  /// Base, modulo 2**DiffBits.
  parameter logic [31:0] Base = 32'd0,
  /// Channels is 2**Twos times an odd number.
  parameter int unsigned Twos = 1,
  /// A sum divided by 2**Twos, times this, shifted by MeanShift, is divided by that odd number, and what is shifted out is less
  /// than this where nothing remains.
  parameter logic [63:0] MeanMul = 64'd1,
  /// See there; 0 where the odd number is 1.
  parameter int unsigned MeanShift = 0,
  /// Bits of MeanMul.
  parameter int unsigned MeanBits = 1,
  /// Bits that an output loses: 0 to 30.
  parameter int unsigned Shift = 15,
  /// Bits of an output channel, two's complement; derived, do not set.
  parameter int unsigned OutBits = 31 - Shift,
  /// Channels of a beat; derived, do not set.
  parameter int unsigned BeatChannels = Narrow ? Pe : Channels
) (
  /// Clock.
  input  logic                        clk_i,
  /// Synchronous reset, active low.
  input  logic                        rst_ni,
  /// Input stream.
  input  logic                        in_valid_i,
  /// Input stream; high in a pixel's last cycle.
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

  if (Channels % Pe != 0 || Shift > 30 || Channels % (1 << Twos) != 0) begin : gen_bad
    $fatal(1, "eq_layer_norm: Pe %0d, Twos %0d and Shift %0d do not fit %0d channels", Pe, Twos, Shift, Channels);
  end

  localparam int unsigned Steps = Channels / Pe;
  localparam int unsigned StepBits = Steps > 1 ? $clog2(Steps) : 1;
  localparam int unsigned RootBits = (SquareBits + 1) / 2;
  localparam int unsigned RecipBits = 31;
  localparam int unsigned ValueBits = InBits + 1 > DiffBits ? InBits + 1 : DiffBits;
  // Pixels behind each stage, and beats behind the last. Pixels hold a stage's credit until the next one is done with them, which
  // is how the memories know their sizes.
  localparam int unsigned Means = 3;
  localparam int unsigned Squares = 3;
  localparam int unsigned Roots = 2;
  localparam int unsigned Recips = 3;
  localparam int unsigned Outputs = Narrow ? 5 : 2;

  // Stage 1: the sum of the channels, and their mean.
  logic mean_credit, step1, first1, last1, step1_q, first1_q, last1_q;
  logic [Pe*InBits-1:0] codes;
  logic [Pe*ValueBits-1:0] values;
  logic [Pe*DiffBits-1:0] kept, x;
  eq_slices #(
    .Parts(Steps),
    .Width(Pe * InBits),
    .NarrowIn(Narrow)
  ) u_slices (
    .clk_i,
    .rst_ni,
    .in_valid_i,
    .in_ready_o,
    .in_data_i,
    .credit_i(mean_credit),
    .step_o(step1),
    .first_o(first1),
    .last_o(last1),
    .part_o(codes)
  );
  always_ff @(posedge clk_i) begin
    if (!rst_ni) {step1_q, first1_q, last1_q} <= '0;
    else {step1_q, first1_q, last1_q} <= {step1, first1, last1};
  end
  for (genvar p = 0; p < Pe; p++) begin : gen_value
    eq_decode #(
      .InBits(InBits),
      .Kind(InKind),
      .OutBits(ValueBits)
    ) u_decode (
      .code_i(codes[p*InBits +: InBits]),
      .value_o(values[p*ValueBits +: ValueBits])
    );
    assign kept[p*DiffBits +: DiffBits] = values[p*ValueBits +: DiffBits];
  end

  logic sum_valid, sum_valid_q, mean_valid_q;
  logic [SumBits-1:0] sum;
  eq_accumulate #(
    .Lanes(Pe),
    .InBits(ValueBits),
    .OutBits(SumBits),
    .Start(Start)
  ) u_sum (
    .clk_i,
    .rst_ni,
    .valid_i(step1_q),
    .first_i(first1_q),
    .last_i(last1_q),
    .terms_i(values),
    .valid_o(sum_valid),
    .sum_o(sum)
  );
  always_ff @(posedge clk_i) begin
    if (!rst_ni) {mean_valid_q, sum_valid_q} <= '0;
    else {mean_valid_q, sum_valid_q} <= {sum_valid_q, sum_valid};
  end

  // Of the sum and half of Channels, the mean is the quotient, and one less where nothing remains (x.5) and it is odd.
  localparam int unsigned ProductBits = SumBits + MeanBits;
  localparam int unsigned QuotientBits = ProductBits > MeanShift + DiffBits ? ProductBits - MeanShift : DiffBits;
  logic [ProductBits-1:0] mean_product_q;
  logic [QuotientBits-1:0] quotient;
  logic even_q, whole, tie;
  logic [DiffBits-1:0] mean_q, mean2, mean2_q;
  always_ff @(posedge clk_i) mean_product_q <= ProductBits'(sum >> Twos) * ProductBits'(MeanMul);
  if (Twos == 0) begin : gen_odd
    assign even_q = 1'b0; // no mean is half way
  end else begin : gen_even
    always_ff @(posedge clk_i) even_q <= sum[Twos-1:0] == '0;
  end
  if (MeanShift == 0) begin : gen_power
    assign whole = 1'b1;
  end else begin : gen_multiplied
    assign whole = mean_product_q[MeanShift-1:0] < MeanShift'(MeanMul);
  end
  assign quotient = QuotientBits'(mean_product_q >> MeanShift);
  assign tie = even_q && whole && quotient[0];
  always_ff @(posedge clk_i) mean_q <= quotient[DiffBits-1:0] - DiffBits'(tie) + DiffBits'(Base);
  if (QuotientBits > DiffBits) begin : gen_unused
    logic unused;
    assign unused = ^quotient;
  end

  logic mean_valid, mean_ready;
  eq_outfifo #(
    .Width(DiffBits),
    .Depth(Means)
  ) u_means (
    .clk_i,
    .rst_ni,
    .credit_o(mean_credit),
    .take_i(first1),
    .push_i(mean_valid_q),
    .data_i(mean_q),
    .out_valid_o(mean_valid),
    .out_ready_i(mean_ready),
    .out_data_o(mean2)
  );

  // Stage 2: differences, and the sum of their squares.
  logic square_credit, step2, first2, last2;
  logic [2:0] step2_q, first2_q, last2_q;
  logic [StepBits-1:0] unused_index2;
  logic [Pe*DiffBits-1:0] diffs_q, diffs;
  logic [Pe*2*DiffBits-1:0] squares_q;
  eq_steps #(
    .Steps(Steps)
  ) u_steps2 (
    .clk_i,
    .rst_ni,
    .in_valid_i(mean_valid),
    .in_ready_o(mean_ready),
    .credit_i(square_credit),
    .step_o(step2),
    .first_o(first2),
    .last_o(last2),
    .index_o(unused_index2)
  );
  eq_ring #(
    .Width(Pe * DiffBits),
    .Depth(Means * Steps)
  ) u_x (
    .clk_i,
    .rst_ni,
    .write_i(step1_q),
    .wdata_i(kept),
    .read_i(step2),
    .rdata_o(x)
  );
  always_ff @(posedge clk_i) begin
    if (!rst_ni) {step2_q, first2_q, last2_q} <= '0;
    else {step2_q, first2_q, last2_q} <= {step2_q[1:0], step2, first2_q[1:0], first2, last2_q[1:0], last2};
  end
  always_ff @(posedge clk_i) mean2_q <= mean2;
  for (genvar p = 0; p < Pe; p++) begin : gen_square
    logic signed [DiffBits-1:0] d_q;
    always_ff @(posedge clk_i) begin
      d_q <= x[p*DiffBits +: DiffBits] - mean2_q;
      squares_q[p*2*DiffBits +: 2*DiffBits] <= (2*DiffBits)'(d_q) * (2*DiffBits)'(d_q);
    end
    assign diffs_q[p*DiffBits +: DiffBits] = d_q;
  end

  logic square_push, square_valid, square_ready;
  logic [SquareBits-1:0] square_sum, square;
  eq_accumulate #(
    .Lanes(Pe),
    .InBits(2 * DiffBits),
    .OutBits(SquareBits)
  ) u_squares (
    .clk_i,
    .rst_ni,
    .valid_i(step2_q[2]),
    .first_i(first2_q[2]),
    .last_i(last2_q[2]),
    .terms_i(squares_q),
    .valid_o(square_push),
    .sum_o(square_sum)
  );
  eq_outfifo #(
    .Width(SquareBits),
    .Depth(Squares)
  ) u_square (
    .clk_i,
    .rst_ni,
    .credit_o(square_credit),
    .take_i(first2),
    .push_i(square_push),
    .data_i(square_sum),
    .out_valid_o(square_valid),
    .out_ready_i(square_ready),
    .out_data_o(square)
  );

  // Stage 3: the root.
  localparam int unsigned RootStepBits = RootBits > 1 ? $clog2(RootBits) : 1;
  logic root_credit, first3, last3, root_push_q, root_valid, root_ready, unused_step3;
  logic [RootStepBits-1:0] unused_index3;
  logic [RootBits-1:0] root_found, root;
  eq_steps #(
    .Steps(RootBits)
  ) u_steps3 (
    .clk_i,
    .rst_ni,
    .in_valid_i(square_valid),
    .in_ready_o(square_ready),
    .credit_i(root_credit),
    .step_o(unused_step3),
    .first_o(first3),
    .last_o(last3),
    .index_o(unused_index3)
  );
  eq_root #(
    .Bits(SquareBits),
    .Iterative(1'b1)
  ) u_root (
    .clk_i,
    .first_i(first3),
    .x_i(square),
    .root_o(root_found)
  );
  always_ff @(posedge clk_i) begin
    if (!rst_ni) root_push_q <= 1'b0;
    else root_push_q <= last3;
  end
  eq_outfifo #(
    .Width(RootBits),
    .Depth(Roots)
  ) u_roots (
    .clk_i,
    .rst_ni,
    .credit_o(root_credit),
    .take_i(first3),
    .push_i(root_push_q),
    .data_i(root_found),
    .out_valid_o(root_valid),
    .out_ready_i(root_ready),
    .out_data_o(root)
  );

  // Stage 4: the reciprocal. Where the root is 0 every d is, whatever it is multiplied by.
  logic recip_credit, first4, last4, recip_push_q, recip_valid, recip_ready, unused_step4;
  logic [$clog2(RecipBits)-1:0] unused_index4;
  logic [RecipBits-1:0] recip_found, recip;
  eq_steps #(
    .Steps(RecipBits)
  ) u_steps4 (
    .clk_i,
    .rst_ni,
    .in_valid_i(root_valid),
    .in_ready_o(root_ready),
    .credit_i(recip_credit),
    .step_o(unused_step4),
    .first_o(first4),
    .last_o(last4),
    .index_o(unused_index4)
  );
  eq_divide #(
    .NumBits(RecipBits),
    .DenBits(RootBits),
    .Iterative(1'b1)
  ) u_divide (
    .clk_i,
    .first_i(first4),
    .num_i({RecipBits{1'b1}}),
    .den_i(root),
    .quotient_o(recip_found)
  );
  always_ff @(posedge clk_i) begin
    if (!rst_ni) recip_push_q <= 1'b0;
    else recip_push_q <= last4;
  end
  eq_outfifo #(
    .Width(RecipBits),
    .Depth(Recips)
  ) u_recips (
    .clk_i,
    .rst_ni,
    .credit_o(recip_credit),
    .take_i(first4),
    .push_i(recip_push_q),
    .data_i(recip_found),
    .out_valid_o(recip_valid),
    .out_ready_i(recip_ready),
    .out_data_o(recip)
  );

  // Stage 5: the products.
  logic out_credit, step5, first5, unused_last5, push;
  logic [2:0] step5_q;
  logic [StepBits-1:0] unused_index5;
  logic [RecipBits-1:0] recip_q;
  logic [Pe*OutBits-1:0] y_q;
  logic [BeatChannels*OutBits-1:0] beat;
  eq_steps #(
    .Steps(Steps),
    .NarrowOut(Narrow)
  ) u_steps5 (
    .clk_i,
    .rst_ni,
    .in_valid_i(recip_valid),
    .in_ready_o(recip_ready),
    .credit_i(out_credit),
    .step_o(step5),
    .first_o(first5),
    .last_o(unused_last5),
    .index_o(unused_index5)
  );
  eq_ring #(
    .Width(Pe * DiffBits),
    .Depth((Squares + Roots + Recips) * Steps)
  ) u_diffs (
    .clk_i,
    .rst_ni,
    .write_i(step2_q[1]),
    .wdata_i(diffs_q),
    .read_i(step5),
    .rdata_o(diffs)
  );
  always_ff @(posedge clk_i) begin
    if (!rst_ni) step5_q <= '0;
    else step5_q <= {step5_q[1:0], step5};
  end
  always_ff @(posedge clk_i) recip_q <= recip;
  for (genvar p = 0; p < Pe; p++) begin : gen_product
    // |d| is at most the root, so a product has 32 bits.
    logic signed [DiffBits-1:0] d;
    logic [31:0] product_q;
    assign d = diffs[p*DiffBits +: DiffBits];
    always_ff @(posedge clk_i) begin
      product_q <= 32'(d) * {1'b0, recip_q};
      y_q[p*OutBits +: OutBits] <= product_q[31 -: OutBits];
    end
    logic unused;
    assign unused = ^product_q[Shift:0];
  end
  eq_collect #(
    .Parts(BeatChannels / Pe),
    .Width(Pe * OutBits)
  ) u_collect (
    .clk_i,
    .rst_ni,
    .valid_i(step5_q[2]),
    .data_i(y_q),
    .valid_o(push),
    .data_o(beat)
  );
  eq_outfifo #(
    .Width(BeatChannels * OutBits),
    .Depth(Outputs)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(out_credit),
    .take_i(Narrow ? step5 : first5),
    .push_i(push),
    .data_i(beat),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
