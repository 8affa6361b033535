// Bytes to an asynchronous serial line: 8 data bits, lowest first, no parity, one stop bit. The receiver is eq_uart_rx.
// Ten bits a byte; the next byte is taken with the end of the stop bit.
module eq_uart_tx #(
  /// Clock cycles of a bit, 2 or more.
  parameter int unsigned BitCycles = 16
) (
  /// Clock.
  input  logic       clk_i,
  /// Synchronous reset, active low.
  input  logic       rst_ni,
  /// Input stream.
  input  logic       in_valid_i,
  /// Input stream.
  output logic       in_ready_o,
  /// Input stream.
  input  logic [7:0] in_data_i,
  /// The line.
  output logic       tx_o
);

  localparam int unsigned CountBits = $clog2(BitCycles);

  if (BitCycles < 2) begin : gen_bad_rate
    $fatal(1, "eq_uart_tx: BitCycles must be 2 or more, got %0d", BitCycles);
  end

  // The bits that are left, behind the one on the line; the highest one is a mark.
  logic [9:0] shift_q;
  logic [CountBits-1:0] count_q;
  logic busy_q, tx_q;

  assign tx_o = tx_q;
  assign in_ready_o = !busy_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      busy_q <= 1'b0;
      tx_q <= 1'b1;
    end else if (!busy_q) begin
      busy_q <= in_valid_i;
      tx_q <= !in_valid_i;
    end else if (count_q == '0) begin
      busy_q <= shift_q != 10'd1;
      tx_q <= shift_q == 10'd1 || shift_q[0];
    end
  end

  always_ff @(posedge clk_i) begin
    if (!busy_q) begin
      shift_q <= {2'b11, in_data_i};
      count_q <= CountBits'(BitCycles - 1);
    end else if (count_q == '0) begin
      shift_q <= shift_q >> 1;
      count_q <= CountBits'(BitCycles - 1);
    end else begin
      count_q <= count_q - 1'b1;
    end
  end

endmodule
