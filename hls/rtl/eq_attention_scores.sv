// Scores of attention: the scalar product of every query with every key, head by head. All keys of a frame are stored before its
// first query is taken, while the queries of the frame before are at work. All heads at once; or, in narrow beats, one after the
// other, two queries being stored as well.
// (HeadChannels/Simd) cycles a pair of query and key, narrow Heads times as many, Queries*Keys pairs a frame; a frame of keys is
// stored in Keys times as many cycles. Latency from the last cycle of a pair 4 + ceil(log4(Simd)) cycles, 4 for bipolar operands.
module eq_attention_scores #(
  /// Heads.
  parameter int unsigned Heads = 1,
  /// Channels of a head.
  parameter int unsigned HeadChannels = 4,
  /// Channels of each head at a time; it divides HeadChannels.
  parameter int unsigned Simd = 1,
  /// A beat of the inputs carries Simd channels; else all.
  parameter bit          Narrow = 1'b0,
  /// Queries of a frame.
  parameter int unsigned Queries = 4,
  /// Keys of a frame.
  parameter int unsigned Keys = 4,
  /// A beat a pair; else a beat a query, with the scores of all keys.
  parameter bit          Pairs = 1'b1,
  /// Bits of a channel of a query.
  parameter int unsigned In0Bits = 8,
  /// Its code, as eq_decode.
  parameter int unsigned In0Kind = 0,
  /// Bits of a channel of a key.
  parameter int unsigned In1Bits = 8,
  /// Its code, as eq_decode.
  parameter int unsigned In1Kind = 0,
  /// Bits of a score.
  parameter int unsigned OutBits = 20,
  /// Code of a score, as eq_decode.
  parameter int unsigned OutKind = 1,
  /// Channels of an input beat; derived, do not set.
  parameter int unsigned BeatChannels = Narrow ? Simd : Heads * HeadChannels
) (
  /// Clock.
  input  logic                                       clk_i,
  /// Synchronous reset, active low.
  input  logic                                       rst_ni,
  /// Queries.
  input  logic                                       in0_valid_i,
  /// Queries; high in the last cycle of one, or where a part of one can be stored.
  output logic                                       in0_ready_o,
  /// Queries.
  input  logic [BeatChannels*In0Bits-1:0]            in0_data_i,
  /// Keys.
  input  logic                                       in1_valid_i,
  /// Keys.
  output logic                                       in1_ready_o,
  /// Keys.
  input  logic [BeatChannels*In1Bits-1:0]            in1_data_i,
  /// Output stream.
  output logic                                       out_valid_o,
  /// Output stream.
  input  logic                                       out_ready_i,
  /// Output stream: the scores of a pair, head by head; or of a query, head by head and key by key.
  output logic [Heads*(Pairs ? 1 : Keys)*OutBits-1:0] out_data_o
);

  localparam int unsigned HeadSlices = HeadChannels / Simd;
  // Heads at a time, and slices of a token: some channels of each of these heads.
  localparam int unsigned Lanes = Narrow ? 1 : Heads;
  localparam int unsigned Slices = HeadSlices * Heads / Lanes;
  localparam int unsigned HeadSliceBits = HeadSlices > 1 ? $clog2(HeadSlices) : 1;
  localparam int unsigned IndexBits = Slices > 1 ? $clog2(Slices) : 1;
  localparam int unsigned QueryBits = Queries > 1 ? $clog2(Queries) : 1;
  localparam int unsigned Parts = Pairs ? 1 : Keys;
  localparam bit Binary = In0Kind == 2 && In1Kind == 2;
  localparam int unsigned AccBits = OutBits + (OutKind == 1 ? 0 : 1);
  // From the last cycle of a beat to its push; cycles from one credit to the next.
  localparam int unsigned Latency = 3 + (Binary ? 0 : ($clog2(Simd) + 1) / 2);
  localparam int unsigned Steps = Parts * Slices;
  localparam int unsigned FifoDepth = 1 + (Latency + Steps) / Steps;

  if (HeadChannels % Simd != 0) begin : gen_bad
    $fatal(1, "eq_attention_scores: Simd %0d does not divide the %0d channels of a head", Simd, HeadChannels);
  end

  // Where in the frame: the slice and the key are the store's, the query is counted here.
  logic [QueryBits-1:0] query_q;
  logic [IndexBits-1:0] slice;
  logic [HeadSliceBits-1:0] head_slice_q;
  logic query_there, there, credit, step, begins, first_slice, last_slice, first_key, last_key, last_query, last_head_slice;
  assign begins = first_slice && (Pairs || first_key);
  assign last_query = query_q == QueryBits'(Queries - 1);
  assign last_head_slice = head_slice_q == HeadSliceBits'(HeadSlices - 1);
  assign step = query_there && there && (credit || !begins);
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      query_q <= '0;
      head_slice_q <= '0;
    end else if (step) begin
      head_slice_q <= last_head_slice ? '0 : head_slice_q + 1'b1;
      if (last_slice && last_key) query_q <= last_query ? '0 : query_q + 1'b1;
    end
  end

  // Stage 1: operands.
  logic valid1_q, first1_q, last1_q;
  logic [Lanes*Simd*In0Bits-1:0] query_slice_q;
  logic [Lanes*Simd*In1Bits-1:0] key;
  if (Narrow) begin : gen_stored
    logic [IndexBits-1:0] unused_slice;
    logic [3:0] unused_place;
    logic unused;
    assign unused = ^{slice, unused_slice, unused_place};
    eq_token_store #(
      .Slices(Slices),
      .Width(Simd * In0Bits),
      .Tokens(1),
      .Narrow(1'b1)
    ) u_query (
      .clk_i,
      .rst_ni,
      .in_valid_i(in0_valid_i),
      .in_ready_o(in0_ready_o),
      .in_data_i(in0_data_i),
      .there_o(query_there),
      .read_i(step),
      .release_i(last_slice && last_key),
      .slice_o(unused_slice),
      .first_slice_o(unused_place[0]),
      .last_slice_o(unused_place[1]),
      .first_token_o(unused_place[2]),
      .last_token_o(unused_place[3]),
      .data_o(query_slice_q)
    );
  end else begin : gen_held
    logic [Lanes*Simd*In0Bits-1:0] query;
    assign query_there = in0_valid_i;
    assign in0_ready_o = last_slice && last_key && there && (credit || !begins);
    eq_slice #(
      .Groups(Lanes),
      .Slices(Slices),
      .Width(Simd * In0Bits)
    ) u_query (
      .data_i(in0_data_i),
      .index_i(slice),
      .slice_o(query)
    );
    always_ff @(posedge clk_i) query_slice_q <= query;
  end
  eq_token_store #(
    .Groups(Lanes),
    .Slices(Slices),
    .Width(Simd * In1Bits),
    .Tokens(Keys),
    .Narrow(Narrow)
  ) u_keys (
    .clk_i,
    .rst_ni,
    .in_valid_i(in1_valid_i),
    .in_ready_o(in1_ready_o),
    .in_data_i(in1_data_i),
    .there_o(there),
    .read_i(step),
    .release_i(last_query && last_slice && last_key),
    .slice_o(slice),
    .first_slice_o(first_slice),
    .last_slice_o(last_slice),
    .first_token_o(first_key),
    .last_token_o(last_key),
    .data_o(key)
  );
  always_ff @(posedge clk_i) begin
    first1_q <= head_slice_q == '0;
    last1_q <= last_head_slice;
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid1_q <= 1'b0;
    else valid1_q <= step;
  end

  // Stage 2: scalar products of the slices.
  logic valid2, first2, last2;
  logic [Lanes*AccBits-1:0] sums;
  eq_products #(
    .Lanes(Lanes),
    .Terms(Simd),
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
    .in0_i(query_slice_q),
    .in1_i(key),
    .side_i({first1_q, last1_q}),
    .valid_o(valid2),
    .sums_o(sums),
    .side_o({first2, last2})
  );

  // Stage 3: sums over the slices; bipolar ones, twice the equal bits, start at minus the number of channels.
  localparam logic signed [AccBits-1:0] Start = Binary ? -AccBits'(HeadChannels) : '0;
  logic acc_valid_q, push;
  logic [Lanes*OutBits-1:0] scores;
  logic [Parts*Heads*OutBits-1:0] collected, beat;
  for (genvar h = 0; h < Lanes; h++) begin : gen_head
    logic signed [AccBits-1:0] acc_q;
    always_ff @(posedge clk_i) begin
      if (valid2) acc_q <= signed'(sums[h*AccBits +: AccBits]) + (first2 ? Start : acc_q);
    end
    eq_encode #(
      .InBits(AccBits),
      .Kind(OutKind),
      .OutBits(OutBits)
    ) u_encode (
      .value_i(acc_q),
      .code_o(scores[h*OutBits +: OutBits])
    );
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) acc_valid_q <= 1'b0;
    else acc_valid_q <= valid2 && last2;
  end

  // Stage 4: the scores of a beat come together.
  eq_collect #(
    .Parts(Parts * Heads / Lanes),
    .Width(Lanes * OutBits)
  ) u_collect (
    .clk_i,
    .rst_ni,
    .valid_i(acc_valid_q),
    .data_i(scores),
    .valid_o(push),
    .data_o(collected)
  );
  for (genvar h = 0; h < Heads; h++) begin : gen_order
    for (genvar k = 0; k < Parts; k++) begin : gen_key
      assign beat[(h*Parts + k)*OutBits +: OutBits] = collected[(k*Heads + h)*OutBits +: OutBits];
    end
  end

  eq_outfifo #(
    .Width(Parts * Heads * OutBits),
    .Depth(FifoDepth)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(credit),
    .take_i(step && begins),
    .push_i(push),
    .data_i(beat),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
