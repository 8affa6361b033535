// What stands between a network's streams and an AXI DMA: packets of frames in memory order <-> the beats of the network, a
// checker that lets whole frames in only, a register map (eq_axi_regs), and the network's reset. One clock.
//
// A frame in memory: each beat of the network in a slot, the first beat first, a byte's lowest bit first (little-endian), the
// unused bits of a slot and of the last word zero (ignored on the way in). A slot is the smallest power of two that holds a beat
// where that is at most Width bits, else the smallest multiple of Width. A frame begins with a word of Width bits. Every word has
// all its bytes (TKEEP all ones), out and in. A packet is as many frames as the register says (1 after power-up), with TLAST on
// its last word; the packet of their outputs likewise.
//
// The processor's reset clears frames, counters and the network wherever they are. While it lasts, words that come are taken and
// dropped and none go out, so a DMA can finish; 32 cycles after it, the next word in begins a packet.
module eq_axi_shell #(
  /// Bits of the two buses: a power of two, 8 or more.
  parameter int unsigned Width = 64,
  /// Bits of a beat into the network.
  parameter int unsigned InBits = 8,
  /// Beats of a frame into the network.
  parameter int unsigned InBeats = 1,
  /// Bits of a beat out of the network.
  parameter int unsigned OutBits = 8,
  /// Beats of a frame out of the network.
  parameter int unsigned OutBeats = 1,
  /// Identity of the design.
  parameter logic [127:0] Hash = '0
) (
  /// Clock.
  input  logic                clk_i,
  /// Synchronous reset, active low.
  input  logic                rst_ni,
  /// Registers: AXI4-Lite write address.
  input  logic                awvalid_i,
  /// Registers: AXI4-Lite write address.
  output logic                awready_o,
  /// Registers: AXI4-Lite write address.
  input  logic [eq_axi_pkg::AddrBits-1:0] awaddr_i,
  /// Registers: AXI4-Lite write data.
  input  logic                wvalid_i,
  /// Registers: AXI4-Lite write data.
  output logic                wready_o,
  /// Registers: AXI4-Lite write data.
  input  logic [31:0]         wdata_i,
  /// Registers: AXI4-Lite write data.
  input  logic [3:0]          wstrb_i,
  /// Registers: AXI4-Lite write response; always OKAY.
  output logic                bvalid_o,
  /// Registers: AXI4-Lite write response.
  input  logic                bready_i,
  /// Registers: AXI4-Lite read address.
  input  logic                arvalid_i,
  /// Registers: AXI4-Lite read address.
  output logic                arready_o,
  /// Registers: AXI4-Lite read address.
  input  logic [eq_axi_pkg::AddrBits-1:0] araddr_i,
  /// Registers: AXI4-Lite read data; the response is always OKAY.
  output logic                rvalid_o,
  /// Registers: AXI4-Lite read data.
  input  logic                rready_i,
  /// Registers: AXI4-Lite read data.
  output logic [31:0]         rdata_o,
  /// Packets from the DMA.
  input  logic                s_tvalid_i,
  /// Packets from the DMA.
  output logic                s_tready_o,
  /// Packets from the DMA.
  input  logic [Width-1:0]    s_tdata_i,
  /// Packets from the DMA.
  input  logic [Width/8-1:0]  s_tkeep_i,
  /// Packets from the DMA.
  input  logic                s_tlast_i,
  /// Packets to the DMA.
  output logic                m_tvalid_o,
  /// Packets to the DMA.
  input  logic                m_tready_i,
  /// Packets to the DMA.
  output logic [Width-1:0]    m_tdata_o,
  /// Packets to the DMA.
  output logic [Width/8-1:0]  m_tkeep_o,
  /// Packets to the DMA.
  output logic                m_tlast_o,
  /// Reset of the network.
  output logic                net_rst_no,
  /// Stream into the network.
  output logic                net_in_valid_o,
  /// Stream into the network.
  input  logic                net_in_ready_i,
  /// Stream into the network.
  output logic [InBits-1:0]   net_in_data_o,
  /// Stream out of the network.
  input  logic                net_out_valid_i,
  /// Stream out of the network.
  output logic                net_out_ready_o,
  /// Stream out of the network.
  input  logic [OutBits-1:0]  net_out_data_i
);

  localparam int unsigned InSlot = InBits <= Width ? 1 << $clog2(InBits) : (InBits + Width - 1) / Width * Width;
  localparam int unsigned OutSlot = OutBits <= Width ? 1 << $clog2(OutBits) : (OutBits + Width - 1) / Width * Width;
  localparam int unsigned InWords = (InBeats * InSlot + Width - 1) / Width;
  localparam int unsigned OutWords = (OutBeats * OutSlot + Width - 1) / Width;
  localparam int unsigned ResetCycles = 32;
  localparam int unsigned ResetBits = $clog2(ResetCycles + 1);

  if (Width < 8 || Width != 1 << $clog2(Width)) begin : gen_bad_width
    $fatal(1, "eq_axi_shell: Width must be a power of two, 8 or more, got %0d", Width);
  end

  logic soft_reset, core_rst_nq, in_valid, in_ready, words_valid, words_ready, halted, partial, whole, is_short, is_long;
  logic [ResetBits-1:0] reset_left_q;
  logic [31:0] frames;
  logic [Width-1:0] words_data;

  always_ff @(posedge clk_i) begin
    if (!rst_ni || soft_reset) reset_left_q <= ResetBits'(ResetCycles);
    else if (reset_left_q != '0) reset_left_q <= reset_left_q - 1'b1;
    core_rst_nq <= rst_ni && !soft_reset && reset_left_q == '0;
  end
  assign net_rst_no = core_rst_nq;

  // In.
  assign in_valid = s_tvalid_i && core_rst_nq;
  assign s_tready_o = core_rst_nq ? in_ready : soft_reset && rst_ni;

  eq_axi_ingress #(
    .Width(Width),
    .FrameWords(InWords)
  ) u_ingress (
    .clk_i,
    .rst_ni(core_rst_nq),
    .frames_i(frames),
    .in_valid_i(in_valid),
    .in_ready_o(in_ready),
    .in_data_i(s_tdata_i),
    .in_full_i(&s_tkeep_i),
    .in_last_i(s_tlast_i),
    .out_valid_o(words_valid),
    .out_ready_i(words_ready),
    .out_data_o(words_data),
    .partial_o(partial),
    .whole_o(whole),
    .short_o(is_short),
    .long_o(is_long),
    .halted_o(halted)
  );

  logic [InSlot-1:0] in_slot;
  logic unused_in_last;
  if (InSlot <= Width) begin : gen_in_split
    eq_axi_split #(
      .Width(InSlot),
      .Pieces(Width / InSlot),
      .Frame(InBeats)
    ) u_in (
      .clk_i,
      .rst_ni(core_rst_nq),
      .in_valid_i(words_valid),
      .in_ready_o(words_ready),
      .in_data_i(words_data),
      .out_valid_o(net_in_valid_o),
      .out_ready_i(net_in_ready_i),
      .out_data_o(in_slot),
      .out_last_o(unused_in_last)
    );
  end else begin : gen_in_join
    eq_axi_join #(
      .Width(Width),
      .Pieces(InSlot / Width),
      .Frame(InWords)
    ) u_in (
      .clk_i,
      .rst_ni(core_rst_nq),
      .in_valid_i(words_valid),
      .in_ready_o(words_ready),
      .in_data_i(words_data),
      .out_valid_o(net_in_valid_o),
      .out_ready_i(net_in_ready_i),
      .out_data_o(in_slot),
      .out_last_o(unused_in_last)
    );
  end
  assign net_in_data_o = in_slot[InBits-1:0];
  if (InSlot > InBits) begin : gen_in_pad
    logic unused_pad;
    assign unused_pad = ^in_slot[InSlot-1:InBits];
  end

  // Out.
  logic [OutSlot-1:0] out_slot;
  logic out_last, out_valid, done, first_q;
  logic [31:0] left, left_q;

  assign out_slot = OutSlot'(net_out_data_i);
  if (OutSlot <= Width) begin : gen_out_join
    eq_axi_join #(
      .Width(OutSlot),
      .Pieces(Width / OutSlot),
      .Frame(OutBeats)
    ) u_out (
      .clk_i,
      .rst_ni(core_rst_nq),
      .in_valid_i(net_out_valid_i),
      .in_ready_o(net_out_ready_o),
      .in_data_i(out_slot),
      .out_valid_o(out_valid),
      .out_ready_i(m_tready_i),
      .out_data_o(m_tdata_o),
      .out_last_o(out_last)
    );
  end else begin : gen_out_split
    eq_axi_split #(
      .Width(Width),
      .Pieces(OutSlot / Width),
      .Frame(OutWords)
    ) u_out (
      .clk_i,
      .rst_ni(core_rst_nq),
      .in_valid_i(net_out_valid_i),
      .in_ready_o(net_out_ready_o),
      .in_data_i(out_slot),
      .out_valid_o(out_valid),
      .out_ready_i(m_tready_i),
      .out_data_o(m_tdata_o),
      .out_last_o(out_last)
    );
  end
  assign m_tvalid_o = out_valid && core_rst_nq;
  assign m_tkeep_o = '1;
  assign left = !first_q ? left_q : frames == '0 ? 32'd1 : frames;
  assign m_tlast_o = out_last && left == 32'd1;
  assign done = m_tvalid_o && m_tready_i && out_last;

  always_ff @(posedge clk_i) begin
    if (!core_rst_nq) begin
      first_q <= 1'b1;
      left_q <= '0;
    end else if (done) begin
      first_q <= left == 32'd1;
      left_q <= left - 1'b1;
    end
  end

  eq_axi_regs #(
    .Hash(Hash),
    .InBytes(InWords * Width / 8),
    .OutBytes(OutWords * Width / 8)
  ) u_regs (
    .clk_i,
    .rst_ni,
    .awvalid_i,
    .awready_o,
    .awaddr_i,
    .wvalid_i,
    .wready_o,
    .wdata_i,
    .wstrb_i,
    .bvalid_o,
    .bready_i,
    .arvalid_i,
    .arready_o,
    .araddr_i,
    .rvalid_o,
    .rready_i,
    .rdata_o,
    .reset_o(soft_reset),
    .frames_o(frames),
    .in_reset_i(!core_rst_nq),
    .halted_i(halted),
    .partial_i(partial),
    .whole_i(whole),
    .short_i(is_short),
    .long_i(is_long),
    .done_i(done),
    .in_stall_i(in_valid && !in_ready),
    .out_stall_i(m_tvalid_o && !m_tready_i)
  );

endmodule
