// Sum of each channel over all pixels of a frame. It does not divide: the scale of the output does.
// Latency 2 cycles from the last pixel; a pixel a cycle.
module eq_global_average_pool #(
  /// Pixels of a frame.
  parameter int unsigned Pixels = 16,
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

  localparam int unsigned CountBits = $clog2(Pixels + 1);
  localparam int unsigned SumBits = (OutBits > InBits ? OutBits : InBits) + 1;

  logic accept, take, first, last, valid_q, credit;
  logic [CountBits-1:0] count_q;
  logic [Channels*OutBits-1:0] y;

  assign first = count_q == '0;
  assign last = count_q == CountBits'(Pixels - 1);
  assign in_ready_o = credit;
  assign accept = in_valid_i && credit;
  assign take = accept && last;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      count_q <= '0;
      valid_q <= 1'b0;
    end else begin
      if (accept) count_q <= last ? '0 : count_q + 1'b1;
      valid_q <= take;
    end
  end

  for (genvar c = 0; c < Channels; c++) begin : gen_channel
    logic signed [SumBits-1:0] value, sum_q;
    eq_decode #(
      .InBits(InBits),
      .Kind(InKind),
      .OutBits(SumBits)
    ) u_decode (
      .code_i(in_data_i[c*InBits +: InBits]),
      .value_o(value)
    );
    always_ff @(posedge clk_i) if (accept) sum_q <= (first ? '0 : sum_q) + value;
    eq_encode #(
      .InBits(SumBits),
      .Kind(OutKind),
      .OutBits(OutBits)
    ) u_encode (
      .value_i(sum_q),
      .code_o(y[c*OutBits +: OutBits])
    );
  end

  eq_outfifo #(
    .Width(Channels * OutBits),
    .Depth(4)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(credit),
    .take_i(take),
    .push_i(valid_q),
    .data_i(y),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
