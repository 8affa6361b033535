// Output FIFO of a fixed-latency pipeline that never stalls: it hands out a credit for each word it can still take. The
// pipeline must push each word it took a credit for. Between two streams use eq_fifo.
// Latency 1 cycle; one word a cycle where Depth >= pipeline latency + 2.
module eq_outfifo #(
  /// Bits of a word.
  parameter int unsigned Width = 8,
  /// Words, and so credits.
  parameter int unsigned Depth = 4
) (
  /// Clock.
  input  logic             clk_i,
  /// Synchronous reset, active low.
  input  logic             rst_ni,
  /// A credit is free.
  output logic             credit_o,
  /// Take a credit; only while `credit_o`.
  input  logic             take_i,
  /// The word of the oldest credit taken arrives.
  input  logic             push_i,
  /// That word.
  input  logic [Width-1:0] data_i,
  /// Output stream.
  output logic             out_valid_o,
  /// Output stream.
  input  logic             out_ready_i,
  /// Output stream.
  output logic [Width-1:0] out_data_o
);

  localparam int unsigned CountBits = $clog2(Depth + 1);
  localparam int unsigned AddrBits = Depth > 1 ? $clog2(Depth) : 1;

  (* ram_style = "distributed" *) logic [Width-1:0] mem [Depth];
  logic [CountBits-1:0] credits_q, count_q;
  logic [AddrBits-1:0] head_q, tail_q;
  logic pop;

  assign credit_o = credits_q != '0;
  assign out_valid_o = count_q != '0;
  assign out_data_o = mem[head_q];
  assign pop = out_valid_o && out_ready_i;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      credits_q <= CountBits'(Depth);
      count_q <= '0;
      head_q <= '0;
      tail_q <= '0;
    end else begin
      credits_q <= credits_q + CountBits'(pop) - CountBits'(take_i);
      count_q <= count_q + CountBits'(push_i) - CountBits'(pop);
      if (pop) head_q <= head_q == AddrBits'(Depth - 1) ? '0 : head_q + 1'b1;
      if (push_i) tail_q <= tail_q == AddrBits'(Depth - 1) ? '0 : tail_q + 1'b1;
    end
  end

  always_ff @(posedge clk_i) if (push_i) mem[tail_q] <= data_i;

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni) begin
      assert (!take_i || credit_o) else $error("eq_outfifo: a credit was taken that is not there");
      assert (!push_i || count_q < CountBits'(Depth)) else $error("eq_outfifo: a word was pushed without a credit");
    end
  end
`endif

endmodule
