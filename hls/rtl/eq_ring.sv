// A memory that is written and read in order, word after word. It holds nobody up: who uses it keeps to its size, and reads no
// word before the cycle after it was written (eq_fifo does both).
// Latency 1 cycle; one read and one write a cycle.
module eq_ring #(
  /// Bits of a word.
  parameter int unsigned Width = 8,
  /// Words, 2 or more.
  parameter int unsigned Depth = 16
) (
  /// Clock.
  input  logic             clk_i,
  /// Synchronous reset, active low.
  input  logic             rst_ni,
  /// Write the next word.
  input  logic             write_i,
  /// That word.
  input  logic [Width-1:0] wdata_i,
  /// Read the next word.
  input  logic             read_i,
  /// The word read in the cycle before.
  output logic [Width-1:0] rdata_o
);

  localparam int unsigned AddrBits = $clog2(Depth);

  logic [AddrBits-1:0] head_q, tail_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      head_q <= '0;
      tail_q <= '0;
    end else begin
      if (read_i) head_q <= head_q == AddrBits'(Depth - 1) ? '0 : head_q + 1'b1;
      if (write_i) tail_q <= tail_q == AddrBits'(Depth - 1) ? '0 : tail_q + 1'b1;
    end
  end

  eq_ram #(
    .Width(Width),
    .Depth(Depth),
    .LutDepth(Width * Depth <= 9216 ? 512 : 64)
  ) u_ram (
    .clk_i,
    .write_i,
    .waddr_i(tail_q),
    .wdata_i,
    .read_i,
    .raddr_i(head_q),
    .rdata_o
  );

endmodule
