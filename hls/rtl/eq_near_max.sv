// 1 where an element is near the largest of its row, else 0. It stores two rows.
// Latency 4 cycles from the last beat of a row; a beat a cycle.
module eq_near_max #(
  /// Beats of a row.
  parameter int unsigned Keys = 4,
  /// Channels.
  parameter int unsigned Channels = 1,
  /// Bits of an input channel.
  parameter int unsigned InBits = 8,
  /// Code of an input channel, as eq_decode.
  parameter int unsigned InKind = 0,
  /// How far from the largest is near, in steps of the code, below bit InBits, which is 1.
  parameter logic [InBits:0]   Margin = (InBits+1)'(1) << InBits
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
  output logic [Channels-1:0]        out_data_o
);

  if (!Margin[InBits]) begin : gen_bad
    $fatal(1, "eq_near_max: bit %0d of Margin %0h must be 1", InBits, Margin);
  end

  logic credit, row_valid, read, last, unused, valid_q, valid2_q;
  logic [Channels*InBits-1:0] distance;
  logic [Channels-1:0] near;

  assign read = row_valid && credit;
  assign unused = last;
  eq_row_distance #(
    .Keys(Keys),
    .Channels(Channels),
    .InBits(InBits),
    .InKind(InKind)
  ) u_rows (
    .clk_i,
    .rst_ni,
    .in_valid_i,
    .in_ready_o,
    .in_data_i,
    .row_valid_o(row_valid),
    .read_i(read),
    .last_o(last),
    .distance_o(distance)
  );
  always_ff @(posedge clk_i) begin
    if (!rst_ni) {valid2_q, valid_q} <= '0;
    else {valid2_q, valid_q} <= {valid_q, read};
  end

  for (genvar c = 0; c < Channels; c++) begin : gen_channel
    assign near[c] = distance[c*InBits +: InBits] <= Margin[InBits-1:0];
  end

  eq_outfifo #(
    .Width(Channels),
    .Depth(4)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(credit),
    .take_i(read),
    .push_i(valid2_q),
    .data_i(near),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
