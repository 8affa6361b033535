// Copies a stream to several readers, each of which takes a word when it can. It stores nothing: a slow reader holds up the
// others (put an eq_fifo behind it).
// Latency 0; one word a cycle.
module eq_fork #(
  /// Bits of a word.
  parameter int unsigned Width = 8,
  /// Readers.
  parameter int unsigned Readers = 2
) (
  /// Clock.
  input  logic               clk_i,
  /// Synchronous reset, active low.
  input  logic               rst_ni,
  /// Input stream.
  input  logic               in_valid_i,
  /// Input stream; high in the cycle in which the last reader takes the word.
  output logic               in_ready_o,
  /// Input stream.
  input  logic [Width-1:0]   in_data_i,
  /// Output streams, a bit a reader.
  output logic [Readers-1:0] out_valid_o,
  /// Output streams, a bit a reader.
  input  logic [Readers-1:0] out_ready_i,
  /// The word, for all readers.
  output logic [Width-1:0]   out_data_o
);

  logic [Readers-1:0] done_q, done_d;

  assign out_data_o = in_data_i;
  assign out_valid_o = {Readers{in_valid_i}} & ~done_q;
  assign done_d = done_q | (out_valid_o & out_ready_i);
  assign in_ready_o = &(done_q | out_ready_i);

  always_ff @(posedge clk_i) begin
    if (!rst_ni || (in_valid_i && in_ready_o)) done_q <= '0;
    else done_q <= done_d;
  end

endmodule
