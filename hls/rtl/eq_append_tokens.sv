// The pixels of a frame, then constant ones from a ROM; or these first, as soon as the first pixel is there.
// Latency 2 cycles; an output pixel a cycle.
module eq_append_tokens #(
  /// Pixels of an input frame.
  parameter int unsigned Pixels = 16,
  /// Constant pixels.
  parameter int unsigned Tokens = 1,
  /// 1 where they come first.
  parameter int unsigned Front = 0,
  /// Channels.
  parameter int unsigned Channels = 1,
  /// Bits of an input channel.
  parameter int unsigned InBits = 8,
  /// Code of the input, as eq_decode.
  parameter int unsigned InKind = 0,
  /// Bits of an output channel.
  parameter int unsigned OutBits = 8,
  /// Code of the output, as eq_decode.
  parameter int unsigned OutKind = 0,
  /// Image of the constant pixels: a word each, in the code of the output, channel 0 lowest.
  parameter File = ""
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

  localparam int unsigned Longest = Pixels > Tokens ? Pixels : Tokens;
  localparam int unsigned CountBits = Longest > 1 ? $clog2(Longest) : 1;
  localparam int unsigned AddrBits = Tokens > 1 ? $clog2(Tokens) : 1;
  localparam int unsigned ValueBits = (InBits > OutBits ? InBits : OutBits) + 1;

  // Where in the pixels, or in the tokens.
  logic [CountBits-1:0] count_q;
  logic tokens_q, last, credit, step, valid_q, constant_q;
  logic [Channels*OutBits-1:0] pixel, pixel_q, token;

  assign last = count_q == (tokens_q ? CountBits'(Tokens - 1) : CountBits'(Pixels - 1));
  assign step = credit && (in_valid_i || (tokens_q && Front == 0));
  assign in_ready_o = credit && !tokens_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      count_q <= '0;
      tokens_q <= Front != 0;
      valid_q <= 1'b0;
    end else begin
      valid_q <= step;
      if (step) count_q <= last ? '0 : count_q + 1'b1;
      if (step && last) tokens_q <= !tokens_q;
    end
  end

  for (genvar c = 0; c < Channels; c++) begin : gen_channel
    logic signed [ValueBits-1:0] value;
    eq_decode #(
      .InBits(InBits),
      .Kind(InKind),
      .OutBits(ValueBits)
    ) u_decode (
      .code_i(in_data_i[c*InBits +: InBits]),
      .value_o(value)
    );
    eq_encode #(
      .InBits(ValueBits),
      .Kind(OutKind),
      .OutBits(OutBits)
    ) u_encode (
      .value_i(value),
      .code_o(pixel[c*OutBits +: OutBits])
    );
  end
  eq_rom #(
    .Width(Channels * OutBits),
    .Depth(Tokens),
    .File(File)
  ) u_tokens (
    .clk_i,
    .addr_i(AddrBits'(count_q)),
    .data_o(token)
  );
  always_ff @(posedge clk_i) begin
    pixel_q <= pixel;
    constant_q <= tokens_q;
  end

  eq_outfifo #(
    .Width(Channels * OutBits),
    .Depth(4)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(credit),
    .take_i(step),
    .push_i(valid_q),
    .data_i(constant_q ? token : pixel_q),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
