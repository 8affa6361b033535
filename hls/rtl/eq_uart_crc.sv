// One step of the CRC-16 of the polynomial x^16 + x^12 + x^5 + 1, a byte at a time, its highest bit first (CRC-16/CCITT).
// Combinational.
module eq_uart_crc (
  /// CRC before the byte.
  input  logic [15:0] crc_i,
  /// The byte.
  input  logic [7:0]  data_i,
  /// CRC after it.
  output logic [15:0] crc_o
);

  always_comb begin
    crc_o = crc_i ^ {data_i, 8'b0};
    for (int unsigned i = 0; i < 8; i++) begin
      crc_o = {crc_o[14:0], 1'b0} ^ (crc_o[15] ? 16'h1021 : 16'h0);
    end
  end

endmodule
