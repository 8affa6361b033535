// Scores of attention: the scalar product of every query with every key, head by head. All keys of a frame are stored before its
// first query is taken, while the queries of the frame before are at work.
// (HeadChannels/Simd) cycles a pair of query and key, Queries*Keys pairs a frame; a frame of keys is stored in Keys times as many
// cycles. Latency from the last cycle of a pair 4 + ceil(log4(Simd)) cycles, 4 for bipolar operands.
module eq_attention_scores #(
  /// Heads.
  parameter int unsigned Heads = 1,
  /// Channels of a head.
  parameter int unsigned HeadChannels = 4,
  /// Channels of each head at a time; it divides HeadChannels.
  parameter int unsigned Simd = 1,
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
  parameter int unsigned OutKind = 1
) (
  /// Clock.
  input  logic                                       clk_i,
  /// Synchronous reset, active low.
  input  logic                                       rst_ni,
  /// Queries.
  input  logic                                       in0_valid_i,
  /// Queries; high in the last cycle of one.
  output logic                                       in0_ready_o,
  /// Queries.
  input  logic [Heads*HeadChannels*In0Bits-1:0]      in0_data_i,
  /// Keys.
  input  logic                                       in1_valid_i,
  /// Keys.
  output logic                                       in1_ready_o,
  /// Keys.
  input  logic [Heads*HeadChannels*In1Bits-1:0]      in1_data_i,
  /// Output stream.
  output logic                                       out_valid_o,
  /// Output stream.
  input  logic                                       out_ready_i,
  /// Output stream: the scores of a pair, head by head; or of a query, head by head and key by key.
  output logic [Heads*(Pairs ? 1 : Keys)*OutBits-1:0] out_data_o
);

  localparam int unsigned Slices = HeadChannels / Simd;
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
  logic there, credit, step, begins, first_slice, last_slice, first_key, last_key, last_query;
  assign begins = first_slice && (Pairs || first_key);
  assign last_query = query_q == QueryBits'(Queries - 1);
  assign step = in0_valid_i && there && (credit || !begins);
  assign in0_ready_o = last_slice && last_key && there && (credit || !begins);
  always_ff @(posedge clk_i) begin
    if (!rst_ni) query_q <= '0;
    else if (step && last_slice && last_key) query_q <= last_query ? '0 : query_q + 1'b1;
  end

  // Stage 1: operands.
  logic valid1_q, first1_q, last1_q;
  logic [Heads*Simd*In0Bits-1:0] query, query_slice_q;
  logic [Heads*Simd*In1Bits-1:0] key;
  eq_slice #(
    .Groups(Heads),
    .Slices(Slices),
    .Width(Simd * In0Bits)
  ) u_query (
    .data_i(in0_data_i),
    .index_i(slice),
    .slice_o(query)
  );
  eq_token_store #(
    .Groups(Heads),
    .Slices(Slices),
    .Width(Simd * In1Bits),
    .Tokens(Keys)
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
    query_slice_q <= query;
    first1_q <= first_slice;
    last1_q <= last_slice;
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid1_q <= 1'b0;
    else valid1_q <= step;
  end

  // Stage 2: scalar products of the slices.
  logic valid2, first2, last2;
  logic [Heads*AccBits-1:0] sums;
  eq_products #(
    .Lanes(Heads),
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
  logic [Heads*OutBits-1:0] scores;
  logic [Parts*Heads*OutBits-1:0] collected, beat;
  for (genvar h = 0; h < Heads; h++) begin : gen_head
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
    .Parts(Parts),
    .Width(Heads * OutBits)
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
