// The registers of eq_axi_shell behind an AXI4-Lite slave, and its counters. The map is eq_axi_pkg, which edgeq writes from
// edgeq/axi.py. Words of 32 bits only: a write without all byte strobes is ignored, as one to a register that cannot be written
// or is not there; reading what is not there gives 0. Every answer is OKAY, since an error would stop the processor.
// Latency 1 cycle; one read and one write in 2 cycles.
module eq_axi_regs #(
  /// Identity of the design.
  parameter logic [127:0] Hash = '0,
  /// Bytes of a frame on the input stream.
  parameter int unsigned InBytes = 8,
  /// Bytes of a frame on the output stream.
  parameter int unsigned OutBytes = 8
) (
  /// Clock.
  input  logic                clk_i,
  /// Synchronous reset of everything here, active low.
  input  logic                rst_ni,
  /// AXI4-Lite write address.
  input  logic                awvalid_i,
  /// AXI4-Lite write address.
  output logic                awready_o,
  /// AXI4-Lite write address.
  input  logic [eq_axi_pkg::AddrBits-1:0] awaddr_i,
  /// AXI4-Lite write data.
  input  logic                wvalid_i,
  /// AXI4-Lite write data.
  output logic                wready_o,
  /// AXI4-Lite write data.
  input  logic [31:0]         wdata_i,
  /// AXI4-Lite write data.
  input  logic [3:0]          wstrb_i,
  /// AXI4-Lite write response; always OKAY.
  output logic                bvalid_o,
  /// AXI4-Lite write response.
  input  logic                bready_i,
  /// AXI4-Lite read address.
  input  logic                arvalid_i,
  /// AXI4-Lite read address.
  output logic                arready_o,
  /// AXI4-Lite read address.
  input  logic [eq_axi_pkg::AddrBits-1:0] araddr_i,
  /// AXI4-Lite read data; the response is always OKAY.
  output logic                rvalid_o,
  /// AXI4-Lite read data.
  input  logic                rready_i,
  /// AXI4-Lite read data.
  output logic [31:0]         rdata_o,
  /// The processor wants the network and the streams in reset.
  output logic                reset_o,
  /// Frames of a packet.
  output logic [31:0]         frames_o,
  /// The network and the streams are in reset, which clears the counters.
  input  logic                in_reset_i,
  /// The ingress has halted.
  input  logic                halted_i,
  /// A part of a frame has come.
  input  logic                partial_i,
  /// A whole frame has come; one cycle.
  input  logic                whole_i,
  /// A short frame was dropped; one cycle.
  input  logic                short_i,
  /// A long frame was dropped; one cycle.
  input  logic                long_i,
  /// The last word of a frame has gone out; one cycle.
  input  logic                done_i,
  /// A word waits for the design.
  input  logic                in_stall_i,
  /// A word of the design waits.
  input  logic                out_stall_i
);

  logic reset_q, bvalid_q, rvalid_q, write, read, busy;
  logic [31:0] frames_q, rdata_q, rdata_d, high_q;
  logic [31:0] in_q, out_q, short_q, long_q, in_stall_q, out_stall_q;
  logic [63:0] cycles_q, busy_q;

  assign write = awvalid_i && wvalid_i && !bvalid_q;
  assign awready_o = write;
  assign wready_o = write;
  assign bvalid_o = bvalid_q;
  assign arready_o = !rvalid_q;
  assign read = arvalid_i && arready_o;
  assign rvalid_o = rvalid_q;
  assign rdata_o = rdata_q;
  assign reset_o = reset_q;
  assign frames_o = frames_q;
  assign busy = partial_i || in_q != out_q;

  always_comb begin
    rdata_d = '0;
    unique case (araddr_i)
      eq_axi_pkg::RegMagic:      rdata_d = eq_axi_pkg::Magic;
      eq_axi_pkg::RegVersion:    rdata_d = eq_axi_pkg::Version;
      eq_axi_pkg::RegHash0:      rdata_d = Hash[31:0];
      eq_axi_pkg::RegHash1:      rdata_d = Hash[63:32];
      eq_axi_pkg::RegHash2:      rdata_d = Hash[95:64];
      eq_axi_pkg::RegHash3:      rdata_d = Hash[127:96];
      eq_axi_pkg::RegInBytes:    rdata_d = InBytes;
      eq_axi_pkg::RegOutBytes:   rdata_d = OutBytes;
      eq_axi_pkg::RegControl:    rdata_d = {31'b0, reset_q};
      eq_axi_pkg::RegStatus:     rdata_d = {29'b0, busy, halted_i, in_reset_i};
      eq_axi_pkg::RegFrames:     rdata_d = frames_q;
      eq_axi_pkg::RegFramesIn:   rdata_d = in_q;
      eq_axi_pkg::RegFramesOut:  rdata_d = out_q;
      eq_axi_pkg::RegShort:      rdata_d = short_q;
      eq_axi_pkg::RegLong:       rdata_d = long_q;
      eq_axi_pkg::RegInStalls:   rdata_d = in_stall_q;
      eq_axi_pkg::RegOutStalls:  rdata_d = out_stall_q;
      eq_axi_pkg::RegCyclesLow:  rdata_d = cycles_q[31:0];
      eq_axi_pkg::RegBusyLow:    rdata_d = busy_q[31:0];
      eq_axi_pkg::RegCyclesHigh, eq_axi_pkg::RegBusyHigh: rdata_d = high_q;
      default:       rdata_d = '0;
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      reset_q <= 1'b0;
      frames_q <= 32'd1;
      bvalid_q <= 1'b0;
      rvalid_q <= 1'b0;
    end else begin
      if (write && (&wstrb_i)) begin
        unique case (awaddr_i)
          eq_axi_pkg::RegControl: reset_q <= wdata_i[0];
          eq_axi_pkg::RegFrames: frames_q <= wdata_i;
          default: ;
        endcase
      end
      bvalid_q <= write || (bvalid_q && !bready_i);
      rvalid_q <= read || (rvalid_q && !rready_i);
    end
  end

  // The high half of a counter is that of the moment in which the low half was read.
  always_ff @(posedge clk_i) begin
    if (read) begin
      rdata_q <= rdata_d;
      high_q <= araddr_i == eq_axi_pkg::RegBusyLow ? busy_q[63:32] : cycles_q[63:32];
    end
  end

  always_ff @(posedge clk_i) begin
    if (in_reset_i) begin
      in_q <= '0;
      out_q <= '0;
      short_q <= '0;
      long_q <= '0;
      in_stall_q <= '0;
      out_stall_q <= '0;
      cycles_q <= '0;
      busy_q <= '0;
    end else begin
      in_q <= in_q + 32'(whole_i);
      out_q <= out_q + 32'(done_i);
      short_q <= short_q + 32'(short_i);
      long_q <= long_q + 32'(long_i);
      in_stall_q <= in_stall_q + 32'(in_stall_i);
      out_stall_q <= out_stall_q + 32'(out_stall_i);
      cycles_q <= cycles_q + 64'd1;
      busy_q <= busy_q + 64'(busy);
    end
  end

endmodule
