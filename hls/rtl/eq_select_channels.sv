// Some channels of each pixel that follow each other; the others are dropped.
// Latency 1 cycle; a pixel a cycle.
module eq_select_channels #(
  /// Channels of an input pixel.
  parameter int unsigned Channels = 2,
  /// The first that stays.
  parameter int unsigned Start = 0,
  /// Channels that stay.
  parameter int unsigned Count = 1,
  /// Bits of a channel.
  parameter int unsigned Bits = 8
) (
  /// Clock.
  input  logic                     clk_i,
  /// Synchronous reset, active low.
  input  logic                     rst_ni,
  /// Input stream.
  input  logic                     in_valid_i,
  /// Input stream.
  output logic                     in_ready_o,
  /// Input stream.
  input  logic [Channels*Bits-1:0] in_data_i,
  /// Output stream.
  output logic                     out_valid_o,
  /// Output stream.
  input  logic                     out_ready_i,
  /// Output stream.
  output logic [Count*Bits-1:0]    out_data_o
);

  if (Count < 1 || Start + Count > Channels) begin : gen_bad
    $fatal(1, "eq_select_channels: %0d channels from %0d on, of %0d", Count, Start, Channels);
  end

  logic take, unused;
  assign take = in_valid_i && in_ready_o;
  assign unused = ^in_data_i;

  eq_outfifo #(
    .Width(Count * Bits),
    .Depth(3)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(in_ready_o),
    .take_i(take),
    .push_i(take),
    .data_i(in_data_i[Start*Bits +: Count*Bits]),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
