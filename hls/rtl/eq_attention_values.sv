// The output of attention: for every query the sum of all values, weighted head by head by the beats of an attention map. All
// values of a frame are stored before the first beat of its map is taken, while the map of the frame before is at work.
// All heads at once; or, in narrow beats, one after the other.
// (HeadChannels/Pe) cycles a beat of the map, narrow Heads times as many, Queries*Keys beats a frame; a frame of values is stored
// in Keys times as many cycles. Latency from the last cycle of a query 4 cycles, narrow 6 to its first beat.
module eq_attention_values #(
  /// Heads.
  parameter int unsigned Heads = 1,
  /// Channels of a head.
  parameter int unsigned HeadChannels = 4,
  /// Channels of each head at a time; it divides HeadChannels.
  parameter int unsigned Pe = 1,
  /// A beat of the values and of the output carries Pe channels; else all.
  parameter bit          Narrow = 1'b0,
  /// Queries of a frame.
  parameter int unsigned Queries = 4,
  /// Values of a frame.
  parameter int unsigned Keys = 4,
  /// Bits of a weight of the map.
  parameter int unsigned In0Bits = 8,
  /// Its code, as eq_decode.
  parameter int unsigned In0Kind = 0,
  /// Bits of a channel of a value.
  parameter int unsigned In1Bits = 8,
  /// Its code, as eq_decode.
  parameter int unsigned In1Kind = 0,
  /// Bits of an output channel.
  parameter int unsigned OutBits = 20,
  /// Code of the output, as eq_decode.
  parameter int unsigned OutKind = 1,
  /// Channels of such a beat; derived, do not set.
  parameter int unsigned BeatChannels = Narrow ? Pe : Heads * HeadChannels
) (
  /// Clock.
  input  logic                                  clk_i,
  /// Synchronous reset, active low.
  input  logic                                  rst_ni,
  /// Attention map: the weights of a query and a key.
  input  logic                                  in0_valid_i,
  /// Attention map; high in the last cycle of a beat.
  output logic                                  in0_ready_o,
  /// Attention map.
  input  logic [Heads*In0Bits-1:0]              in0_data_i,
  /// Values.
  input  logic                                  in1_valid_i,
  /// Values.
  output logic                                  in1_ready_o,
  /// Values.
  input  logic [BeatChannels*In1Bits-1:0]       in1_data_i,
  /// Output stream.
  output logic                                  out_valid_o,
  /// Output stream.
  input  logic                                  out_ready_i,
  /// Output stream.
  output logic [BeatChannels*OutBits-1:0]       out_data_o
);

  localparam int unsigned HeadSlices = HeadChannels / Pe;
  localparam int unsigned Slices = Narrow ? Heads * HeadSlices : HeadSlices;
  localparam int unsigned IndexBits = Slices > 1 ? $clog2(Slices) : 1;
  localparam int unsigned QueryBits = Queries > 1 ? $clog2(Queries) : 1;
  localparam int unsigned Lanes = Narrow ? Pe : Heads * Pe;
  localparam bit Binary = In0Kind == 2 && In1Kind == 2;
  localparam int unsigned AccBits = OutBits + (OutKind == 1 ? 0 : 1);
  // From the last cycle of a query to its push; cycles from one credit to the next, and those in which it is given out in parts.
  localparam int unsigned Latency = 3;
  localparam int unsigned Steps = Keys * Slices;
  localparam int unsigned PartSteps = Narrow ? Slices + 2 : 0;
  localparam int unsigned FifoDepth = 1 + (Latency + PartSteps + Steps) / Steps;

  if (HeadChannels % Pe != 0) begin : gen_bad
    $fatal(1, "eq_attention_values: Pe %0d does not divide the %0d channels of a head", Pe, HeadChannels);
  end

  // Where in the frame: the slice and the value are the store's, the query is counted here.
  logic [QueryBits-1:0] query_q;
  logic [IndexBits-1:0] unused_slice;
  logic there, credit, step, first_slice, last_slice, first_value, last_value, last_query;
  assign last_query = query_q == QueryBits'(Queries - 1);
  assign step = in0_valid_i && there && (credit || !first_slice);
  assign in0_ready_o = last_slice && there && (credit || !first_slice);
  always_ff @(posedge clk_i) begin
    if (!rst_ni) query_q <= '0;
    else if (step && last_slice && last_value) query_q <= last_query ? '0 : query_q + 1'b1;
  end

  // Stage 1: operands, a weight for all channels of its head.
  logic valid1_q, first1_q, last1_q;
  logic [Heads*In0Bits-1:0] weights_q;
  logic [Lanes*In0Bits-1:0] weights;
  logic [Lanes*In1Bits-1:0] values;
  eq_token_store #(
    .Groups(Lanes / Pe),
    .Slices(Slices),
    .Width(Pe * In1Bits),
    .Tokens(Keys),
    .Narrow(Narrow)
  ) u_values (
    .clk_i,
    .rst_ni,
    .in_valid_i(in1_valid_i),
    .in_ready_o(in1_ready_o),
    .in_data_i(in1_data_i),
    .there_o(there),
    .read_i(step),
    .release_i(last_query && last_slice && last_value),
    .slice_o(unused_slice),
    .first_slice_o(first_slice),
    .last_slice_o(last_slice),
    .first_token_o(first_value),
    .last_token_o(last_value),
    .data_o(values)
  );
  always_ff @(posedge clk_i) begin
    weights_q <= in0_data_i;
    first1_q <= first_value;
    last1_q <= last_value && (Narrow || last_slice);
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid1_q <= 1'b0;
    else valid1_q <= step;
  end
  if (Narrow) begin : gen_one_head
    localparam int unsigned HeadBits = Heads > 1 ? $clog2(Heads) : 1;
    localparam int unsigned HeadSliceBits = HeadSlices > 1 ? $clog2(HeadSlices) : 1;
    logic [HeadBits-1:0] head_q, head1_q;
    logic [HeadSliceBits-1:0] head_slice_q;
    logic last_head_slice;
    assign last_head_slice = head_slice_q == HeadSliceBits'(HeadSlices - 1);
    always_ff @(posedge clk_i) begin
      if (!rst_ni || (step && last_slice)) {head_q, head_slice_q} <= '0;
      else if (step) begin
        head_slice_q <= last_head_slice ? '0 : head_slice_q + 1'b1;
        if (last_head_slice) head_q <= head_q + 1'b1;
      end
    end
    always_ff @(posedge clk_i) head1_q <= head_q;
    assign weights = {Lanes{weights_q[head1_q*In0Bits +: In0Bits]}};
  end else begin : gen_all_heads
    for (genvar l = 0; l < Lanes; l++) begin : gen_weight
      assign weights[l*In0Bits +: In0Bits] = weights_q[(l/Pe)*In0Bits +: In0Bits];
    end
  end

  // Stage 2: products.
  logic valid2, first2, last2;
  logic [Lanes*AccBits-1:0] products;
  eq_products #(
    .Lanes(Lanes),
    .Terms(1),
    .In0Bits(In0Bits),
    .In0Kind(In0Kind),
    .In1Bits(In1Bits),
    .In1Kind(In1Kind),
    .SumBits(AccBits),
    .SideBits(2)
  ) u_products (
    .clk_i,
    .rst_ni,
    .valid_i(valid1_q),
    .in0_i(weights),
    .in1_i(values),
    .side_i({first1_q, last1_q}),
    .valid_o(valid2),
    .sums_o(products),
    .side_o({first2, last2})
  );

  // Stage 3: the sums go round, a slice of them at a time, and lie in order after the last slice of a value. Bipolar ones, twice
  // the equal bits, start at minus the number of values.
  localparam logic signed [AccBits-1:0] Start = Binary ? -AccBits'(Keys) : '0;
  logic [Slices*Lanes*AccBits-1:0] ring_q;
  logic [Lanes*AccBits-1:0] sums;
  logic push_q;
  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    assign sums[l*AccBits +: AccBits] = products[l*AccBits +: AccBits] + (first2 ? Start : ring_q[l*AccBits +: AccBits]);
  end
  always_ff @(posedge clk_i) begin
    if (valid2) ring_q <= (Slices * Lanes * AccBits)'({sums, ring_q} >> (Lanes * AccBits));
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) push_q <= 1'b0;
    else push_q <= valid2 && last2;
  end

  // Stage 4: the sums of a query; in narrow beats they wait in a memory, whose size the credits keep to.
  if (Narrow) begin : gen_parts
    logic done, done_ready, unused_done, beat_credit, step2, first2_part, last2_part, step2_q, last_q;
    logic [IndexBits-1:0] unused_index;
    logic [Lanes*AccBits-1:0] sums_q;
    logic [Lanes*OutBits-1:0] y, part;
    logic [IndexBits-1:0] count_q;
    logic unused;
    assign unused = ^{unused_done, first2_part, last2_part, unused_index};
    assign last_q = push_q && count_q == IndexBits'(Slices - 1);
    always_ff @(posedge clk_i) begin
      if (!rst_ni) count_q <= '0;
      else if (push_q) count_q <= last_q ? '0 : count_q + 1'b1;
    end
    always_ff @(posedge clk_i) sums_q <= sums;
    for (genvar l = 0; l < Lanes; l++) begin : gen_channel
      eq_encode #(
        .InBits(AccBits),
        .Kind(OutKind),
        .OutBits(OutBits)
      ) u_encode (
        .value_i(sums_q[l*AccBits +: AccBits]),
        .code_o(y[l*OutBits +: OutBits])
      );
    end
    eq_outfifo #(
      .Width(1),
      .Depth(FifoDepth)
    ) u_done (
      .clk_i,
      .rst_ni,
      .credit_o(credit),
      .take_i(step && first_slice && last_value),
      .push_i(last_q),
      .data_i(1'b1),
      .out_valid_o(done),
      .out_ready_i(done_ready),
      .out_data_o(unused_done)
    );
    eq_steps #(
      .Steps(Slices),
      .NarrowOut(1'b1)
    ) u_parts (
      .clk_i,
      .rst_ni,
      .in_valid_i(done),
      .in_ready_o(done_ready),
      .credit_i(beat_credit),
      .step_o(step2),
      .first_o(first2_part),
      .last_o(last2_part),
      .index_o(unused_index)
    );
    eq_ring #(
      .Width(Lanes * OutBits),
      .Depth(FifoDepth * Slices)
    ) u_sums (
      .clk_i,
      .rst_ni,
      .write_i(push_q),
      .wdata_i(y),
      .read_i(step2),
      .rdata_o(part)
    );
    always_ff @(posedge clk_i) begin
      if (!rst_ni) step2_q <= 1'b0;
      else step2_q <= step2;
    end
    eq_outfifo #(
      .Width(Lanes * OutBits),
      .Depth(3)
    ) u_out (
      .clk_i,
      .rst_ni,
      .credit_o(beat_credit),
      .take_i(step2),
      .push_i(step2_q),
      .data_i(part),
      .out_valid_o,
      .out_ready_i,
      .out_data_o
    );
  end else begin : gen_whole
    logic [Heads*HeadChannels*OutBits-1:0] y;
    for (genvar h = 0; h < Heads; h++) begin : gen_head
      for (genvar c = 0; c < HeadChannels; c++) begin : gen_channel
        eq_encode #(
          .InBits(AccBits),
          .Kind(OutKind),
          .OutBits(OutBits)
        ) u_encode (
          .value_i(ring_q[((c/Pe)*Lanes + h*Pe + c%Pe)*AccBits +: AccBits]),
          .code_o(y[(h*HeadChannels + c)*OutBits +: OutBits])
        );
      end
    end

    eq_outfifo #(
      .Width(Heads * HeadChannels * OutBits),
      .Depth(FifoDepth)
    ) u_out (
      .clk_i,
      .rst_ni,
      .credit_o(credit),
      .take_i(step && first_slice && last_value),
      .push_i(push_q),
      .data_i(y),
      .out_valid_o,
      .out_ready_i,
      .out_data_o
    );
  end

endmodule
