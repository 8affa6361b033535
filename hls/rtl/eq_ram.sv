// Simple dual-port memory: one write port, one read port with a registered output. Not for initialized data (eq_rom), and
// not for a read and a write of one address in one cycle. Block RAM above LutDepth words, LUT RAM up to there.
// Latency 1 cycle; one read and one write a cycle.
module eq_ram #(
  /// Bits of a word.
  parameter int unsigned Width = 8,
  /// Words, 2 or more.
  parameter int unsigned Depth = 16,
  /// Words up to which it is LUT RAM.
  parameter int unsigned LutDepth = 64,
  /// Bits of an address; derived, do not set.
  parameter int unsigned AddrBits = $clog2(Depth)
) (
  /// Clock.
  input  logic                clk_i,
  /// Write `wdata_i` to `waddr_i`.
  input  logic                write_i,
  /// Write address.
  input  logic [AddrBits-1:0] waddr_i,
  /// Word to write.
  input  logic [Width-1:0]    wdata_i,
  /// Read `raddr_i`; without it `rdata_o` holds.
  input  logic                read_i,
  /// Read address.
  input  logic [AddrBits-1:0] raddr_i,
  /// The word read in the cycle before.
  output logic [Width-1:0]    rdata_o
);

  if (Depth < 2) begin : gen_bad_depth
    $fatal(1, "eq_ram: Depth must be 2 or more, got %0d", Depth);
  end

  if (Depth > LutDepth) begin : gen_block
    (* ram_style = "block" *) logic [Width-1:0] mem [Depth];
    always_ff @(posedge clk_i) begin
      if (write_i) mem[waddr_i] <= wdata_i;
      if (read_i) rdata_o <= mem[raddr_i];
    end
  end else begin : gen_distributed
    (* ram_style = "distributed" *) logic [Width-1:0] mem [Depth];
    always_ff @(posedge clk_i) begin
      if (write_i) mem[waddr_i] <= wdata_i;
      if (read_i) rdata_o <= mem[raddr_i];
    end
  end

endmodule
