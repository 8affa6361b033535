// What stands between a serial line and eq_axi_shell: messages <-> accesses of its registers and words of its two streams. It
// knows nothing of frames.
//
// A message is a code, its fields (numbers lowest byte first), and the CRC of these bytes, high byte first (eq_uart_crc, from
// 0xffff). In: read (address), write (address, 4 bytes), words and last words (number of words less 1, the words; the last of
// `last words` ends a packet). Each is answered once it is done, with its code and the highest bit set, `read` with 4 bytes.
// Out besides: word, and last word of a packet. The codes are eq_uart_pkg, which edgeq writes from
// edgeq/axi.py.
//
// BufferBytes bytes wait here, so a host that leaves no more than these unanswered never loses one. On a bad code, a bad CRC, a
// byte without its stop bit or a full buffer the message of that error goes out, and all that comes is dropped up to the next
// break, which begins anew. The last word of a message goes to the shell when the CRC is right, the others before.
module eq_uart_bridge #(
  /// Clock cycles of a bit.
  parameter int unsigned BitCycles = 16,
  /// Bits of a word, a multiple of 8, 32 or more.
  parameter int unsigned Width = 64,
  /// Bytes that wait.
  parameter int unsigned BufferBytes = 2048
) (
  /// Clock.
  input  logic                clk_i,
  /// Synchronous reset, active low.
  input  logic                rst_ni,
  /// Line in.
  input  logic                rx_i,
  /// Line out.
  output logic                tx_o,
  /// Everything is dropped up to the next break.
  output logic                deaf_o,
  /// Registers: AXI4-Lite.
  output logic                awvalid_o,
  /// Registers: AXI4-Lite.
  input  logic                awready_i,
  /// Registers: AXI4-Lite, address of both directions.
  output logic [eq_axi_pkg::AddrBits-1:0] addr_o,
  /// Registers: AXI4-Lite.
  output logic [31:0]         wdata_o,
  /// Registers: AXI4-Lite; its data is there with its address.
  input  logic                bvalid_i,
  /// Registers: AXI4-Lite.
  output logic                arvalid_o,
  /// Registers: AXI4-Lite.
  input  logic                arready_i,
  /// Registers: AXI4-Lite; both answers are always taken.
  input  logic                rvalid_i,
  /// Registers: AXI4-Lite.
  input  logic [31:0]         rdata_i,
  /// Words to the shell.
  output logic                word_valid_o,
  /// Words to the shell.
  input  logic                word_ready_i,
  /// Words to the shell.
  output logic [Width-1:0]    word_data_o,
  /// Words to the shell: it ends a packet.
  output logic                word_last_o,
  /// Words of the shell.
  input  logic                word_valid_i,
  /// Words of the shell.
  output logic                word_ready_o,
  /// Words of the shell.
  input  logic [Width-1:0]    word_data_i,
  /// Words of the shell: it ends a packet.
  input  logic                word_last_i
);

  localparam int unsigned WordBytes = Width / 8;
  localparam int unsigned LeftBits = $clog2(WordBytes + 2);

  if (Width < 32 || Width % 8 != 0) begin : gen_bad_width
    $fatal(1, "eq_uart_bridge: Width must be a multiple of 8, 32 or more, got %0d", Width);
  end

  // In: bytes.
  logic rx_valid, rx_error, rx_break, space, byte_valid, byte_ready, fresh_rst_nq;
  logic [7:0] rx_data, data;

  eq_uart_rx #(
    .BitCycles(BitCycles)
  ) u_rx (
    .clk_i,
    .rst_ni,
    .rx_i,
    .valid_o(rx_valid),
    .data_o(rx_data),
    .error_o(rx_error),
    .break_o(rx_break)
  );

  always_ff @(posedge clk_i) fresh_rst_nq <= rst_ni && !rx_break;

  eq_fifo #(
    .Width(8),
    .Depth(BufferBytes)
  ) u_bytes (
    .clk_i,
    .rst_ni(fresh_rst_nq),
    .in_valid_i(rx_valid),
    .in_ready_o(space),
    .in_data_i(rx_data),
    .out_valid_o(byte_valid),
    .out_ready_i(byte_ready),
    .out_data_o(data)
  );

  // In: messages.
  typedef enum logic [3:0] {Code, Field, Body, Push, Check, Run, Wait, Answer, Failed, Deaf} state_e;
  state_e state_q;
  logic [7:0] code_q, field_q, answer_q;
  logic [LeftBits-1:0] left_q;
  logic [Width-1:0] word_q;
  logic [15:0] crc_q, crc;
  logic take, is_read, is_write, is_words, is_last, known, line_error, done, answer_taken;

  eq_uart_crc u_in_crc (
    .crc_i(state_q == Code ? 16'hffff : crc_q),
    .data_i(data),
    .crc_o(crc)
  );

  assign byte_ready = state_q == Code || state_q == Field || state_q == Body || state_q == Check || state_q == Deaf;
  assign take = byte_valid && byte_ready;
  assign is_read = code_q == eq_uart_pkg::Read;
  assign is_write = code_q == eq_uart_pkg::Write;
  assign is_last = code_q == eq_uart_pkg::Last;
  assign is_words = !is_read && !is_write;
  assign known = data == eq_uart_pkg::Read || data == eq_uart_pkg::Write || data == eq_uart_pkg::Words || data == eq_uart_pkg::Last;
  assign line_error = rx_error || (rx_valid && !space);
  assign deaf_o = state_q == Failed || state_q == Deaf;

  assign addr_o = eq_axi_pkg::AddrBits'(field_q);
  assign wdata_o = word_q[Width-1 -: 32];
  assign awvalid_o = state_q == Run && is_write;
  assign arvalid_o = state_q == Run && is_read;
  assign word_valid_o = state_q == Push || (state_q == Run && is_words);
  assign word_data_o = word_q;
  assign word_last_o = state_q == Run && is_last;
  assign done = is_write ? bvalid_i : rvalid_i;

  always_ff @(posedge clk_i) begin
    if (!fresh_rst_nq) begin
      state_q <= Code;
      answer_q <= '0;
    end else if (line_error && !deaf_o) begin
      state_q <= Failed;
      answer_q <= eq_uart_pkg::LineError;
    end else begin
      unique case (state_q)
        Code: if (take) begin
          state_q <= Failed;
          answer_q <= eq_uart_pkg::BadCode;
          if (known) state_q <= Field;
        end
        Field: if (take) state_q <= is_read ? Check : Body;
        Body: if (take && left_q == '0) state_q <= is_write || field_q == '0 ? Check : Push;
        Push: if (word_ready_i) state_q <= Body;
        Check: if (take && left_q == '0) begin
          state_q <= Run;
          if (crc != '0) begin
            state_q <= Failed;
            answer_q <= eq_uart_pkg::LineError;
          end
        end
        Run: begin
          answer_q <= code_q | 8'h80;
          if (is_words ? word_ready_i : is_write ? awready_i : arready_i) state_q <= is_words ? Answer : Wait;
        end
        Wait: if (done) state_q <= Answer;
        Answer: if (answer_taken) state_q <= Code;
        Failed: if (answer_taken) state_q <= Deaf;
        default: ;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (take) begin
      crc_q <= crc;
      left_q <= left_q - 1'b1;
    end
    if (state_q == Code && take) code_q <= data;
    if (state_q == Field && take) begin
      field_q <= data;
      left_q <= is_read ? LeftBits'(1) : is_write ? LeftBits'(3) : LeftBits'(WordBytes - 1);
    end
    if (state_q == Body && take) begin
      word_q <= {data, word_q[Width-1:8]};
      if (left_q == '0) left_q <= LeftBits'(1);
    end
    if (state_q == Push && word_ready_i) begin
      field_q <= field_q - 1'b1;
      left_q <= LeftBits'(WordBytes - 1);
    end
    if (state_q == Wait && done) word_q <= Width'(rdata_i);
  end

  // Out: an answer goes first, then a word of the shell.
  typedef enum logic [1:0] {Ready, Send, High, Low} out_e;
  out_e out_q;
  logic [LeftBits-1:0] out_left_q;
  logic [Width+7:0] message_q;
  logic [15:0] out_crc_q, out_crc;
  logic tx_valid, tx_ready, first_q, answering;
  logic [7:0] tx_data;

  eq_uart_crc u_out_crc (
    .crc_i(first_q ? 16'hffff : out_crc_q),
    .data_i(message_q[7:0]),
    .crc_o(out_crc)
  );

  assign answering = state_q == Answer || state_q == Failed;
  assign answer_taken = out_q == Ready && answering;
  assign word_ready_o = out_q == Ready && !answering;
  assign tx_valid = out_q != Ready;
  assign tx_data = out_q == Send ? message_q[7:0] : out_q == High ? out_crc_q[15:8] : out_crc_q[7:0];

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      out_q <= Ready;
    end else begin
      unique case (out_q)
        Ready: if (answering || word_valid_i) out_q <= Send;
        Send: if (tx_ready && out_left_q == '0) out_q <= High;
        High: if (tx_ready) out_q <= Low;
        default: if (tx_ready) out_q <= Ready;
      endcase
    end
  end

  always_ff @(posedge clk_i) begin
    if (out_q == Ready) begin
      first_q <= 1'b1;
      if (answering) begin
        message_q <= {word_q, answer_q};
        out_left_q <= state_q == Answer && is_read ? LeftBits'(4) : '0;
      end else begin
        message_q <= {word_data_i, word_last_i ? eq_uart_pkg::LastWord : eq_uart_pkg::Word};
        out_left_q <= LeftBits'(WordBytes);
      end
    end else if (out_q == Send && tx_ready) begin
      first_q <= 1'b0;
      out_crc_q <= out_crc;
      out_left_q <= out_left_q - 1'b1;
      message_q <= message_q >> 8;
    end
  end

  eq_uart_tx #(
    .BitCycles(BitCycles)
  ) u_tx (
    .clk_i,
    .rst_ni,
    .in_valid_i(tx_valid),
    .in_ready_o(tx_ready),
    .in_data_i(tx_data),
    .tx_o
  );

endmodule
