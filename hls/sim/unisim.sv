// Models of the Xilinx primitives that generated layers instantiate (UG974), for simulating what is synthesized (EQ_LUT6).
// Not for synthesis: the vendor's own library has these names.
/* verilator lint_off DECLFILENAME */

module LUT1 #(
  /// truth table, bit {I0}
  parameter logic [1:0] INIT = '0
) (
  output logic O,
  input  logic I0
);
  assign O = INIT[I0];
endmodule : LUT1

module LUT2 #(
  /// truth table, bit {I1, I0}
  parameter logic [3:0] INIT = '0
) (
  output logic O,
  input  logic I0, I1
);
  assign O = INIT[{I1, I0}];
endmodule : LUT2

module LUT3 #(
  /// truth table, bit {I2, I1, I0}
  parameter logic [7:0] INIT = '0
) (
  output logic O,
  input  logic I0, I1, I2
);
  assign O = INIT[{I2, I1, I0}];
endmodule : LUT3

module LUT4 #(
  /// truth table, bit {I3, .., I0}
  parameter logic [15:0] INIT = '0
) (
  output logic O,
  input  logic I0, I1, I2, I3
);
  assign O = INIT[{I3, I2, I1, I0}];
endmodule : LUT4

module LUT5 #(
  /// truth table, bit {I4, .., I0}
  parameter logic [31:0] INIT = '0
) (
  output logic O,
  input  logic I0, I1, I2, I3, I4
);
  assign O = INIT[{I4, I3, I2, I1, I0}];
endmodule : LUT5

module LUT6 #(
  /// truth table, bit {I5, .., I0}
  parameter logic [63:0] INIT = '0
) (
  output logic O,
  input  logic I0, I1, I2, I3, I4, I5
);
  assign O = INIT[{I5, I4, I3, I2, I1, I0}];
endmodule : LUT6

module LUT6_2 #(
  /// truth table, bit {I5, .., I0}
  parameter logic [63:0] INIT = '0
) (
  /// all six inputs
  output logic O6,
  /// the lower half of the table: I0 to I4
  output logic O5,
  input  logic I0, I1, I2, I3, I4, I5
);
  assign O6 = INIT[{I5, I4, I3, I2, I1, I0}];
  assign O5 = INIT[{1'b0, I4, I3, I2, I1, I0}];
endmodule : LUT6_2

module CARRY8 (
  /// carry out of each bit
  output logic [7:0] CO,
  /// sum
  output logic [7:0] O,
  /// carry in of bit 0
  input  logic       CI,
  /// carry in of bit 4 where the chain is split in two: not modelled, tied to 0
  input  logic       CI_TOP,
  /// generated carry where S is 0
  input  logic [7:0] DI,
  /// propagate
  input  logic [7:0] S
);
  logic unused_ci_top;
  assign unused_ci_top = CI_TOP;
  logic [8:0] carry;
  // The ripple carry[i+1] = S[i] ? carry[i] : DI[i], as a sum: DI + (S ^ DI).
  assign carry = {1'b0, DI} + {1'b0, S ^ DI} + 9'(CI);
  assign O  = carry[7:0];
  assign CO = {carry[8], (carry[7:1] ^ S[7:1])};
endmodule : CARRY8

module RAM64M8 (
  /// the bit of each bank at its address
  output logic       DOA, DOB, DOC, DOD, DOE, DOF, DOG, DOH,
  /// read addresses; that of bank H is the write address of all
  input  logic [5:0] ADDRA, ADDRB, ADDRC, ADDRD, ADDRE, ADDRF, ADDRG, ADDRH,
  /// the bits written
  input  logic       DIA, DIB, DIC, DID, DIE, DIF, DIG, DIH,
  /// write clock and enable
  input  logic       WCLK, WE
);
  logic [63:0] a, b, c, d, e, f, g, h;
  initial {a, b, c, d, e, f, g, h} = '0;
  always_ff @(posedge WCLK) begin
    if (WE) begin
      {a[ADDRH], b[ADDRH], c[ADDRH], d[ADDRH]} <= {DIA, DIB, DIC, DID};
      {e[ADDRH], f[ADDRH], g[ADDRH], h[ADDRH]} <= {DIE, DIF, DIG, DIH};
    end
  end
  assign {DOA, DOB, DOC, DOD} = {a[ADDRA], b[ADDRB], c[ADDRC], d[ADDRD]};
  assign {DOE, DOF, DOG, DOH} = {e[ADDRE], f[ADDRF], g[ADDRG], h[ADDRH]};
endmodule : RAM64M8

module CARRY4 (
  /// carry out of each bit
  output logic [3:0] CO,
  /// sum
  output logic [3:0] O,
  /// carry in of bit 0, from another CARRY4
  input  logic       CI,
  /// carry in of bit 0, where CI is tied to 0
  input  logic       CYINIT,
  /// generated carry where S is 0
  input  logic [3:0] DI,
  /// propagate
  input  logic [3:0] S
);
  logic [4:0] carry;
  assign carry = {1'b0, DI} + {1'b0, S ^ DI} + 5'(CI | CYINIT);
  assign O  = carry[3:0];
  assign CO = {carry[4], (carry[3:1] ^ S[3:1])};
endmodule : CARRY4

module RAM64M (
  /// the bit of each bank at its address
  output logic       DOA, DOB, DOC, DOD,
  /// read addresses; that of bank D is the write address of all
  input  logic [5:0] ADDRA, ADDRB, ADDRC, ADDRD,
  /// the bits written
  input  logic       DIA, DIB, DIC, DID,
  /// write clock and enable
  input  logic       WCLK, WE
);
  logic [63:0] a, b, c, d;
  initial {a, b, c, d} = '0;
  always_ff @(posedge WCLK) if (WE) {a[ADDRD], b[ADDRD], c[ADDRD], d[ADDRD]} <= {DIA, DIB, DIC, DID};
  assign {DOA, DOB, DOC, DOD} = {a[ADDRA], b[ADDRB], c[ADDRC], d[ADDRD]};
endmodule : RAM64M
