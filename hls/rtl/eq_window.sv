// Sliding windows over a zero-padded image: walks it one position a cycle and gives the patch of each window, tap by tap
// (tap i*Kw + j at bits [(i*Kw + j)*PixBits +: PixBits]), frame after frame without a gap. It stores no patches: the reader
// owns an eq_outfifo and lends its credits. Padding is code 0 with its mask bit clear; a bipolar or maximum reader needs the mask.
// Latency 2 cycles from the last pixel of a patch; (H + PadT + PadB) * (W + PadL + PadR) cycles a frame.
module eq_window #(
  /// Rows of the image.
  parameter int unsigned H = 4,
  /// Columns of the image.
  parameter int unsigned W = 4,
  /// Bits of a pixel with all its channels.
  parameter int unsigned PixBits = 8,
  /// Rows of the window.
  parameter int unsigned Kh = 3,
  /// Columns of the window.
  parameter int unsigned Kw = 3,
  /// Stride down.
  parameter int unsigned Sh = 1,
  /// Stride across.
  parameter int unsigned Sw = 1,
  /// Dilation down.
  parameter int unsigned Dh = 1,
  /// Dilation across.
  parameter int unsigned Dw = 1,
  /// Padding above.
  parameter int unsigned PadT = 0,
  /// Padding on the left.
  parameter int unsigned PadL = 0,
  /// Padding below.
  parameter int unsigned PadB = 0,
  /// Padding on the right.
  parameter int unsigned PadR = 0
) (
  /// Clock.
  input  logic                     clk_i,
  /// Synchronous reset, active low.
  input  logic                     rst_ni,
  /// Input stream, a pixel a beat.
  input  logic                     in_valid_i,
  /// Input stream.
  output logic                     in_ready_o,
  /// Input stream.
  input  logic [PixBits-1:0]       in_data_i,
  /// The reader can take one more patch.
  input  logic                     credit_i,
  /// A patch was launched: it takes the credit.
  output logic                     take_o,
  /// A patch is there, for this cycle only.
  output logic                     valid_o,
  /// The patch.
  output logic [Kh*Kw*PixBits-1:0] patch_o,
  /// A bit a tap: 1 for a pixel of the image, 0 for padding.
  output logic [Kh*Kw-1:0]         mask_o
);

  localparam int unsigned Hp = H + PadT + PadB;
  localparam int unsigned Wp = W + PadL + PadR;
  localparam int unsigned SpanH = (Kh - 1) * Dh;
  localparam int unsigned SpanW = (Kw - 1) * Dw;
  // Every counter and comparison in one width that holds the largest sum.
  localparam int unsigned PosBits = $clog2((Hp > Wp ? Hp : Wp) + (SpanH > SpanW ? SpanH : SpanW) + Sh + Sw + 1);

  if (Kh < 1 || Kw < 1 || Sh < 1 || Sw < 1 || Dh < 1 || Dw < 1 || SpanH >= Hp || SpanW >= Wp) begin : gen_bad
    $fatal(1, "eq_window: a window of %0d x %0d (dilation %0d, %0d) does not fit %0d x %0d", Kh, Kw, Dh, Dw, Hp, Wp);
  end

  logic [PosBits-1:0] row_q, col_q;
  // Positions to go until a window ends in this row or column.
  logic [PosBits-1:0] row_wait_q, col_wait_q;
  logic real_row, real_col, step, last_col, last_row, emit;

  assign last_col = col_q == PosBits'(Wp - 1);
  assign last_row = row_q == PosBits'(Hp - 1);
  if (PadT + PadB > 0) begin : gen_pad_rows
    assign real_row = row_q + PosBits'(1) > PosBits'(PadT) && row_q < PosBits'(PadT + H);
  end else begin : gen_all_rows
    assign real_row = 1'b1;
  end
  if (PadL + PadR > 0) begin : gen_pad_cols
    assign real_col = col_q + PosBits'(1) > PosBits'(PadL) && col_q < PosBits'(PadL + W);
  end else begin : gen_all_cols
    assign real_col = 1'b1;
  end
  assign in_ready_o = credit_i && real_row && real_col;
  assign step = credit_i && (in_valid_i || !(real_row && real_col));
  assign emit = row_wait_q == '0 && col_wait_q == '0;
  assign take_o = step && emit;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      row_q <= '0;
      col_q <= '0;
      row_wait_q <= PosBits'(SpanH);
      col_wait_q <= PosBits'(SpanW);
    end else if (step) begin
      col_q <= last_col ? '0 : col_q + 1'b1;
      if (last_col) col_wait_q <= PosBits'(SpanW);
      else col_wait_q <= col_wait_q == '0 ? PosBits'(Sw - 1) : col_wait_q - 1'b1;
      if (last_col) begin
        row_q <= last_row ? '0 : row_q + 1'b1;
        if (last_row) row_wait_q <= PosBits'(SpanH);
        else row_wait_q <= row_wait_q == '0 ? PosBits'(Sh - 1) : row_wait_q - 1'b1;
      end
    end
  end

  // Which taps of a window that ends here are pixels.
  logic [Kh-1:0] row_mask;
  logic [Kw-1:0] col_mask;
  for (genvar i = 0; i < Kh; i++) begin : gen_row_mask
    if (PadT + PadB > 0) begin : gen_padded
      assign row_mask[i] = row_q + PosBits'(i * Dh + 1) > PosBits'(SpanH + PadT) &&
                           row_q + PosBits'(i * Dh) < PosBits'(SpanH + PadT + H);
    end else begin : gen_whole
      assign row_mask[i] = 1'b1;
    end
  end
  for (genvar j = 0; j < Kw; j++) begin : gen_col_mask
    if (PadL + PadR > 0) begin : gen_padded
      assign col_mask[j] = col_q + PosBits'(j * Dw + 1) > PosBits'(SpanW + PadL) &&
                           col_q + PosBits'(j * Dw) < PosBits'(SpanW + PadL + W);
    end else begin : gen_whole
      assign col_mask[j] = 1'b1;
    end
  end

  // Stage 1: the pixel meets those above it.
  logic step1_q, emit1_q, emit2_q;
  logic [Kh-1:0] row_mask1_q, row_mask2_q;
  logic [Kw-1:0] col_mask1_q, col_mask2_q;
  logic [PixBits-1:0] pixel_q;
  logic [(SpanH+1)*PixBits-1:0] column;  // oldest row lowest

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      step1_q <= 1'b0;
      emit1_q <= 1'b0;
      emit2_q <= 1'b0;
    end else begin
      step1_q <= step;
      emit1_q <= take_o;
      emit2_q <= emit1_q;
    end
  end

  always_ff @(posedge clk_i) begin
    pixel_q <= real_row && real_col ? in_data_i : '0;
    row_mask1_q <= row_mask;
    col_mask1_q <= col_mask;
    row_mask2_q <= row_mask1_q;
    col_mask2_q <= col_mask1_q;
  end

  if (SpanH == 0) begin : gen_no_lines
    assign column = pixel_q;
  end else if (Wp == 1) begin : gen_line_register
    logic [SpanH*PixBits-1:0] lines_q;
    assign column = {pixel_q, lines_q};
    always_ff @(posedge clk_i) if (step1_q) lines_q <= column[(SpanH+1)*PixBits-1:PixBits];
  end else begin : gen_lines
    localparam int unsigned AddrBits = $clog2(Wp);
    logic [SpanH*PixBits-1:0] lines;
    logic [AddrBits-1:0] col1_q;
    always_ff @(posedge clk_i) col1_q <= AddrBits'(col_q);
    assign column = {pixel_q, lines};
    eq_ram #(
      .Width(SpanH * PixBits),
      .Depth(Wp),
      .LutDepth(128) // block RAM is 512 words deep
    ) u_lines (
      .clk_i,
      .write_i(step1_q),
      .waddr_i(col1_q),
      .wdata_i(column[(SpanH+1)*PixBits-1:PixBits]),
      .read_i(step),
      .raddr_i(AddrBits'(col_q)),
      .rdata_o(lines)
    );
  end

  // Stage 2: each row of the window is a shift register, oldest column lowest.
  for (genvar i = 0; i < Kh; i++) begin : gen_row
    logic [(SpanW+1)*PixBits-1:0] shift_q;
    if (SpanW == 0) begin : gen_single
      always_ff @(posedge clk_i) if (step1_q) shift_q <= column[i*Dh*PixBits +: PixBits];
    end else begin : gen_shift
      always_ff @(posedge clk_i) begin
        if (step1_q) shift_q <= {column[i*Dh*PixBits +: PixBits], shift_q[(SpanW+1)*PixBits-1:PixBits]};
      end
    end
    for (genvar j = 0; j < Kw; j++) begin : gen_tap
      assign patch_o[(i*Kw + j)*PixBits +: PixBits] = shift_q[j*Dw*PixBits +: PixBits];
      assign mask_o[i*Kw + j] = row_mask2_q[i] && col_mask2_q[j];
    end
  end
  assign valid_o = emit2_q;

endmodule
