// Banks of LUT RAM, a bit wide, that are written together and read each at an address of its own: in a cycle every lane takes
// another term of a patch. Words that are never written stay 0. Two bodies, equal by construction: registers, and with
// EQ_LUT6 the primitive RAM64M8, seven banks in eight LUTs (inferred, a bank would take two), or with EQ_XC7 too RAM64M, three
// in four.
// Latency: a word can be read in the cycle after its write; reads are combinational.
module eq_gather #(
  /// Banks.
  parameter int unsigned Lanes = 7,
  /// Bits of an address, at most 6.
  parameter int unsigned AddrBits = 6
) (
  /// Clock.
  input  logic                      clk_i,
  /// Write a word, a bit to each bank.
  input  logic                      write_i,
  /// Its address.
  input  logic [AddrBits-1:0]       waddr_i,
  /// The word.
  input  logic [Lanes-1:0]          wdata_i,
  /// The read address of each bank.
  input  logic [Lanes*AddrBits-1:0] raddr_i,
  /// What is there.
  output logic [Lanes-1:0]          rdata_o
);

  if (AddrBits > 6) begin : gen_bad_depth
    $fatal(1, "eq_gather: a bank has at most 64 words, got %0d address bits", AddrBits);
  end

`ifdef EQ_LUT6
`ifdef EQ_XC7
  localparam int unsigned Banks = 3;
`else
  localparam int unsigned Banks = 7;
`endif
  localparam int unsigned Rams = (Lanes + Banks - 1) / Banks;
  logic [Banks*Rams-1:0] wdata, rdata;
  logic [Banks*Rams*6-1:0] raddr;
  logic unused;
  assign wdata = (Banks * Rams)'(wdata_i);
  assign rdata_o = rdata[Lanes-1:0];
  assign unused = ^rdata;
  for (genvar l = 0; l < Banks * Rams; l++) begin : gen_lane
    if (l < Lanes) begin : gen_used
      assign raddr[6*l +: 6] = 6'(raddr_i[l*AddrBits +: AddrBits]);
    end else begin : gen_none
      assign raddr[6*l +: 6] = '0;
    end
  end
`ifdef EQ_XC7
  for (genvar r = 0; r < Rams; r++) begin : gen_ram
    logic unused_d;
    RAM64M u_ram (
      .DOA(rdata[3*r]),
      .DOB(rdata[3*r+1]),
      .DOC(rdata[3*r+2]),
      .DOD(unused_d),
      .ADDRA(raddr[18*r +: 6]),
      .ADDRB(raddr[18*r+6 +: 6]),
      .ADDRC(raddr[18*r+12 +: 6]),
      .ADDRD(6'(waddr_i)),
      .DIA(wdata[3*r]),
      .DIB(wdata[3*r+1]),
      .DIC(wdata[3*r+2]),
      .DID(1'b0),
      .WCLK(clk_i),
      .WE(write_i)
    );
  end
`else
  for (genvar r = 0; r < Rams; r++) begin : gen_ram
    logic unused_h;
    RAM64M8 u_ram (
      .DOA(rdata[7*r]),
      .DOB(rdata[7*r+1]),
      .DOC(rdata[7*r+2]),
      .DOD(rdata[7*r+3]),
      .DOE(rdata[7*r+4]),
      .DOF(rdata[7*r+5]),
      .DOG(rdata[7*r+6]),
      .DOH(unused_h),
      .ADDRA(raddr[42*r +: 6]),
      .ADDRB(raddr[42*r+6 +: 6]),
      .ADDRC(raddr[42*r+12 +: 6]),
      .ADDRD(raddr[42*r+18 +: 6]),
      .ADDRE(raddr[42*r+24 +: 6]),
      .ADDRF(raddr[42*r+30 +: 6]),
      .ADDRG(raddr[42*r+36 +: 6]),
      .ADDRH(6'(waddr_i)),
      .DIA(wdata[7*r]),
      .DIB(wdata[7*r+1]),
      .DIC(wdata[7*r+2]),
      .DID(wdata[7*r+3]),
      .DIE(wdata[7*r+4]),
      .DIF(wdata[7*r+5]),
      .DIG(wdata[7*r+6]),
      .DIH(1'b0),
      .WCLK(clk_i),
      .WE(write_i)
    );
  end
`endif
`else
  for (genvar l = 0; l < Lanes; l++) begin : gen_lane
    logic [2**AddrBits-1:0] mem_q;
    initial mem_q = '0;
    always_ff @(posedge clk_i) if (write_i) mem_q[waddr_i] <= wdata_i[l];
    assign rdata_o[l] = mem_q[raddr_i[l*AddrBits +: AddrBits]];
  end
`endif

endmodule
