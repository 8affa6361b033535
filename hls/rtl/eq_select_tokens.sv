// Some pixels of a frame that follow each other; the others are dropped, each with a credit at hand as if it stayed.
// Latency 1 cycle; an input pixel a cycle.
module eq_select_tokens #(
  /// Pixels of an input frame.
  parameter int unsigned Pixels = 16,
  /// The first that stays.
  parameter int unsigned Start = 0,
  /// Pixels that stay.
  parameter int unsigned Count = 1,
  /// Bits of a pixel with all its channels.
  parameter int unsigned PixBits = 8
) (
  /// Clock.
  input  logic               clk_i,
  /// Synchronous reset, active low.
  input  logic               rst_ni,
  /// Input stream.
  input  logic               in_valid_i,
  /// Input stream.
  output logic               in_ready_o,
  /// Input stream.
  input  logic [PixBits-1:0] in_data_i,
  /// Output stream.
  output logic               out_valid_o,
  /// Output stream.
  input  logic               out_ready_i,
  /// Output stream.
  output logic [PixBits-1:0] out_data_o
);

  if (Count < 1 || Start + Count > Pixels) begin : gen_bad
    $fatal(1, "eq_select_tokens: %0d pixels from %0d on, of %0d", Count, Start, Pixels);
  end

  localparam int unsigned CountBits = $clog2(Pixels + 1);

  logic [CountBits-1:0] pixel_q;
  logic accept, stays, take;
  assign accept = in_valid_i && in_ready_o;
  assign stays = (Start == 0 || pixel_q >= CountBits'(Start)) && pixel_q < CountBits'(Start + Count);
  assign take = accept && stays;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) pixel_q <= '0;
    else if (accept) pixel_q <= pixel_q == CountBits'(Pixels - 1) ? '0 : pixel_q + 1'b1;
  end

  eq_outfifo #(
    .Width(PixBits),
    .Depth(3)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(in_ready_o),
    .take_i(take),
    .push_i(take),
    .data_i(in_data_i),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
