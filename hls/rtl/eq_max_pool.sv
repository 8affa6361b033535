// Maximum over a sliding window; padding never wins. A window wholly in the padding is not allowed.
// Latency: the window's and 3 cycles; a position of the padded image a cycle.
module eq_max_pool #(
  /// Rows of the image.
  parameter int unsigned H = 4,
  /// Columns of the image.
  parameter int unsigned W = 4,
  /// Rows of the kernel.
  parameter int unsigned Kh = 1,
  /// Columns of the kernel.
  parameter int unsigned Kw = 1,
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
  parameter int unsigned PadR = 0,
  /// Channels.
  parameter int unsigned Channels = 1,
  /// Bits of an input channel.
  parameter int unsigned InBits = 8,
  /// Code of the input, as eq_decode.
  parameter int unsigned InKind = 0
) (
  /// Clock.
  input  logic                       clk_i,
  /// Synchronous reset, active low.
  input  logic                       rst_ni,
  /// Input stream.
  input  logic                       in_valid_i,
  /// Input stream.
  output logic                       in_ready_o,
  /// Input stream.
  input  logic [Channels*InBits-1:0] in_data_i,
  /// Output stream.
  output logic                       out_valid_o,
  /// Output stream.
  input  logic                       out_ready_i,
  /// Output stream.
  output logic [Channels*InBits-1:0] out_data_o
);

  logic credit, take, window_valid;
  logic [Kh*Kw*Channels*InBits-1:0] window;
  logic [Kh*Kw-1:0] mask;

  eq_window #(
    .PixBits(Channels * InBits),
    .H(H),
    .W(W),
    .Kh(Kh),
    .Kw(Kw),
    .Sh(Sh),
    .Sw(Sw),
    .Dh(Dh),
    .Dw(Dw),
    .PadT(PadT),
    .PadL(PadL),
    .PadB(PadB),
    .PadR(PadR)
  ) u_window (
    .clk_i,
    .rst_ni,
    .in_valid_i,
    .in_ready_o,
    .in_data_i,
    .credit_i(credit),
    .take_o(take),
    .valid_o(window_valid),
    .patch_o(window),
    .mask_o(mask)
  );

  // Codes as unsigned numbers of the same order, 0 for padding: first the maximum of each row, then of the rows.
  logic rows_valid_q, valid_q;
  logic [Channels*InBits-1:0] y_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      rows_valid_q <= 1'b0;
      valid_q <= 1'b0;
    end else begin
      rows_valid_q <= window_valid;
      valid_q <= rows_valid_q;
    end
  end
  if (InBits == 1 && InKind != 1) begin : gen_bits
    logic [Kh*Channels-1:0] row_max_q, row_max;
    logic [Channels-1:0] max;
    always_comb begin
      row_max = '0;
      for (int unsigned i = 0; i < Kh; i++) begin
        for (int unsigned j = 0; j < Kw; j++) begin
          row_max[i*Channels +: Channels] = row_max[i*Channels +: Channels] |
            (window[(i*Kw + j)*Channels +: Channels] & {Channels{mask[i*Kw + j]}});
        end
      end
    end
    always_comb begin
      max = '0;
      for (int unsigned i = 0; i < Kh; i++) max = max | row_max_q[i*Channels +: Channels];
    end
    always_ff @(posedge clk_i) begin
      row_max_q <= row_max;
      y_q <= max;
    end
  end else begin : gen_numbers
    localparam logic [InBits-1:0] Flip = InKind == 1 ? InBits'(1) << (InBits - 1) : '0;
    for (genvar c = 0; c < Channels; c++) begin : gen_channel
      logic [Kh*InBits-1:0] row_max_q, row_max;
      logic [InBits-1:0] max;
      always_comb begin
        row_max = '0;
        for (int unsigned i = 0; i < Kh; i++) begin
          for (int unsigned j = 0; j < Kw; j++) begin
            if (mask[i*Kw + j] && (window[((i*Kw + j)*Channels + c)*InBits +: InBits] ^ Flip) > row_max[i*InBits +: InBits]) begin
              row_max[i*InBits +: InBits] = window[((i*Kw + j)*Channels + c)*InBits +: InBits] ^ Flip;
            end
          end
        end
      end
      always_comb begin
        max = '0;
        for (int unsigned i = 0; i < Kh; i++) begin
          if (row_max_q[i*InBits +: InBits] > max) max = row_max_q[i*InBits +: InBits];
        end
      end
      always_ff @(posedge clk_i) begin
        row_max_q <= row_max;
        y_q[c*InBits +: InBits] <= max ^ Flip;
      end
    end
  end

  eq_outfifo #(
    .Width(Channels * InBits),
    .Depth(6)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(credit),
    .take_i(take),
    .push_i(valid_q),
    .data_i(y_q),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
