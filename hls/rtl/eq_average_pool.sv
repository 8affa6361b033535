// Sum over a sliding window, padding counted as 0. It does not divide: the scale of the output does.
// Latency: the window's and 2 + ceil(log4(Kh*Kw)) cycles; a position of the padded image a cycle.
module eq_average_pool #(
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
  parameter int unsigned InKind = 0,
  /// Bits of an output channel.
  parameter int unsigned OutBits = 8,
  /// Code of the output, as eq_decode.
  parameter int unsigned OutKind = 0
) (
  /// Clock.
  input  logic                        clk_i,
  /// Synchronous reset, active low.
  input  logic                        rst_ni,
  /// Input stream.
  input  logic                        in_valid_i,
  /// Input stream.
  output logic                        in_ready_o,
  /// Input stream.
  input  logic [Channels*InBits-1:0]  in_data_i,
  /// Output stream.
  output logic                        out_valid_o,
  /// Output stream.
  input  logic                        out_ready_i,
  /// Output stream.
  output logic [Channels*OutBits-1:0] out_data_o
);

  localparam int unsigned Taps = Kh * Kw;
  localparam int unsigned Latency = ($clog2(Taps) + 1) / 2 + 1;
  localparam int unsigned ValueBits = InBits + 1;
  localparam int unsigned SumBits = OutBits + 1;

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

  logic [Latency-1:0] valid_q;
  logic [Channels*OutBits-1:0] y;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else valid_q <= Latency'({valid_q, window_valid});
  end
  for (genvar c = 0; c < Channels; c++) begin : gen_channel
    logic [Taps*ValueBits-1:0] terms_q;
    logic signed [SumBits-1:0] sum;
    for (genvar t = 0; t < Taps; t++) begin : gen_tap
      logic signed [ValueBits-1:0] value;
      eq_decode #(
        .InBits(InBits),
        .Kind(InKind),
        .OutBits(ValueBits)
      ) u_decode (
        .code_i(window[(t*Channels + c)*InBits +: InBits]),
        .value_o(value)
      );
      always_ff @(posedge clk_i) terms_q[t*ValueBits +: ValueBits] <= mask[t] ? value : '0;
    end
    eq_sum #(
      .Terms(Taps),
      .InBits(ValueBits),
      .OutBits(SumBits)
    ) u_sum (
      .clk_i,
      .terms_i(terms_q),
      .sum_o(sum)
    );
    eq_encode #(
      .InBits(SumBits),
      .Kind(OutKind),
      .OutBits(OutBits)
    ) u_encode (
      .value_i(sum),
      .code_o(y[c*OutBits +: OutBits])
    );
  end

  eq_outfifo #(
    .Width(Channels * OutBits),
    .Depth(Latency + 4)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(credit),
    .take_i(take),
    .push_i(valid_q[Latency-1]),
    .data_i(y),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
