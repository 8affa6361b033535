// How far every element is below the largest of its row, channel by channel. It stores two rows: one is read while the next one comes.
// A part of operators along rows, whose stages behind it take the credits; for the largest alone use eq_max_pool.
// A row can be read from the cycle after its last beat; a beat a cycle.
module eq_row_distance #(
  /// Beats of a row.
  parameter int unsigned Keys = 4,
  /// Channels.
  parameter int unsigned Channels = 1,
  /// Bits of a channel.
  parameter int unsigned InBits = 8,
  /// Code of a channel, as eq_decode.
  parameter int unsigned InKind = 0
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
  input  logic [Channels*InBits-1:0] in_data_i,
  /// The next beat of a whole row can be read.
  output logic                       row_valid_o,
  /// Read it; only while `row_valid_o`.
  input  logic                       read_i,
  /// It is the last one of its row.
  output logic                       last_o,
  /// The largest minus each element of the beat read two cycles before, unsigned, in steps of the code.
  output logic [Channels*InBits-1:0] distance_o
);

  localparam int unsigned KeyBits = Keys > 1 ? $clog2(Keys) : 1;
  // Turns a code into an unsigned number of the same order.
  localparam logic [InBits-1:0] Flip = InKind == 1 ? InBits'(1) << (InBits - 1) : '0;

  logic [KeyBits-1:0] in_key_q, out_key_q;
  logic accept, first, row_end;
  assign first = in_key_q == '0;
  assign row_end = accept && in_key_q == KeyBits'(Keys - 1);
  assign last_o = out_key_q == KeyBits'(Keys - 1);
  assign accept = in_valid_i && in_ready_o;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      in_key_q <= '0;
      out_key_q <= '0;
    end else begin
      if (accept) in_key_q <= row_end ? '0 : in_key_q + 1'b1;
      if (read_i) out_key_q <= last_o ? '0 : out_key_q + 1'b1;
    end
  end

  logic [Channels*InBits-1:0] numbers, best, top, top_q, stored;
  for (genvar c = 0; c < Channels; c++) begin : gen_channel
    logic [InBits-1:0] value, max_q;
    assign value = in_data_i[c*InBits +: InBits] ^ Flip;
    assign numbers[c*InBits +: InBits] = value;
    assign best[c*InBits +: InBits] = first || value > max_q ? value : max_q;
    always_ff @(posedge clk_i) begin
      if (accept) max_q <= best[c*InBits +: InBits];
      distance_o[c*InBits +: InBits] <= top_q[c*InBits +: InBits] - stored[c*InBits +: InBits];
    end
  end
  always_ff @(posedge clk_i) top_q <= top;

  eq_ring #(
    .Width(Channels * InBits),
    .Depth(2 * Keys)
  ) u_rows (
    .clk_i,
    .rst_ni,
    .write_i(accept),
    .wdata_i(numbers),
    .read_i,
    .rdata_o(stored)
  );

  // The largest of each whole row; its credits are the rows of the memory.
  eq_outfifo #(
    .Width(Channels * InBits),
    .Depth(2)
  ) u_tops (
    .clk_i,
    .rst_ni,
    .credit_o(in_ready_o),
    .take_i(row_end),
    .push_i(row_end),
    .data_i(best),
    .out_valid_o(row_valid_o),
    .out_ready_i(read_i && last_o),
    .out_data_o(top)
  );

endmodule
