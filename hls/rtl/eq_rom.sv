// Constants from a $readmemh image, with a registered output. Cannot be written (eq_ram). Block RAM above 64 words, LUTs up
// to there unless told otherwise; a single word is a constant.
// Latency 1 cycle; one read a cycle.
module eq_rom #(
  /// Bits of a word.
  parameter int unsigned Width = 8,
  /// Words.
  parameter int unsigned Depth = 16,
  /// The image: one hexadecimal word a line. Without one the words are unknown.
  parameter              File = "",
  /// Block RAM; of several words.
  parameter bit          Block = Depth > 64,
  /// Bits of an address; derived, do not set.
  parameter int unsigned AddrBits = Depth > 1 ? $clog2(Depth) : 1
) (
  /// Clock.
  input  logic                clk_i,
  /// Read address.
  input  logic [AddrBits-1:0] addr_i,
  /// The word at the address of the cycle before.
  output logic [Width-1:0]    data_o
);

  if (Block && Depth > 1) begin : gen_block
    (* rom_style = "block", ram_style = "block" *) logic [Width-1:0] mem [Depth];
    if (File != "") begin : gen_image
      initial $readmemh(File, mem);
    end
    always_ff @(posedge clk_i) data_o <= mem[addr_i];
  end else if (Depth > 1) begin : gen_distributed
`ifdef YOSYS
    // Yosys has no LUT ROM: logic of the same inputs.
    (* rom_style = "logic" *) logic [Width-1:0] mem [Depth];
`else
    (* rom_style = "distributed" *) logic [Width-1:0] mem [Depth];
`endif
    if (File != "") begin : gen_image
      initial $readmemh(File, mem);
    end
    always_ff @(posedge clk_i) data_o <= mem[addr_i];
  end else begin : gen_constant
    logic [Width-1:0] mem [1];
    logic unused;
    if (File != "") begin : gen_image
      initial $readmemh(File, mem);
    end
    assign unused = ^{clk_i, addr_i};
    assign data_o = mem[0];
  end

endmodule
