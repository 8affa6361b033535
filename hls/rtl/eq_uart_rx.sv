// Bytes from an asynchronous serial line: 8 data bits, lowest first, no parity, one stop bit. The sender is eq_uart_tx.
// Each bit is sampled in its middle. Latency: from the middle of the stop bit.
module eq_uart_rx #(
  /// Clock cycles of a bit, 4 or more.
  parameter int unsigned BitCycles = 16
) (
  /// Clock.
  input  logic       clk_i,
  /// Synchronous reset, active low.
  input  logic       rst_ni,
  /// The line, of any clock; high where it rests.
  input  logic       rx_i,
  /// A byte has come; one cycle.
  output logic       valid_o,
  /// The byte.
  output logic [7:0] data_o,
  /// A byte without its stop bit has come; one cycle.
  output logic       error_o,
  /// Ten low bits have come: a break; one cycle.
  output logic       break_o
);

  localparam int unsigned CountBits = $clog2(BitCycles + BitCycles / 2 + 1);

  if (BitCycles < 4) begin : gen_bad_rate
    $fatal(1, "eq_uart_rx: BitCycles must be 4 or more, got %0d", BitCycles);
  end

  typedef enum logic [1:0] {Idle, Start, Bits, Rest} state_e;
  state_e state_q;
  logic [1:0] sync_q;
  logic [CountBits-1:0] count_q;
  logic [3:0] left_q;
  logic [7:0] data_q;
  logic line, sample, stop;

  assign line = sync_q[1];
  assign sample = count_q == '0;
  assign stop = state_q == Bits && sample && left_q == 4'd0;
  assign valid_o = stop && line;
  assign error_o = stop && !line && data_q != '0;
  assign break_o = stop && !line && data_q == '0;
  assign data_o = data_q;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) sync_q <= '1;
    else sync_q <= {sync_q[0], rx_i};
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      state_q <= Rest;
      count_q <= '0;
      left_q <= '0;
    end else begin
      count_q <= sample ? CountBits'(BitCycles - 1) : count_q - 1'b1;
      unique case (state_q)
        Idle: begin
          count_q <= CountBits'(BitCycles / 2 - 1);
          if (!line) state_q <= Start;
        end
        Start: begin
          left_q <= 4'd8;
          if (sample) state_q <= line ? Idle : Bits;
        end
        Bits: begin
          if (sample) left_q <= left_q - 1'b1;
          if (stop) state_q <= line ? Idle : Rest;
        end
        default: if (line) state_q <= Idle;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (state_q == Bits && sample && !stop) data_q <= {line, data_q[7:1]};
  end

endmodule
