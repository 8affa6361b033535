// Index of the largest channel of a pixel, the first of equals.
// Latency 2 + ceil(log2(Channels)) cycles; a pixel a cycle.
module eq_argmax #(
  /// Channels.
  parameter int unsigned Channels = 10,
  /// Bits of a channel.
  parameter int unsigned InBits = 8,
  /// Code of the input, as eq_decode.
  parameter int unsigned InKind = 0,
  /// Bits of the index; it must hold Channels - 1.
  parameter int unsigned OutBits = 4
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
  output logic [OutBits-1:0]         out_data_o
);

  localparam int unsigned Levels = $clog2(Channels);

  logic take;
  logic [Levels:0] valid_q;
  assign take = in_valid_i && in_ready_o;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else valid_q <= (Levels + 1)'({valid_q, take});
  end

  // Rounds of a knockout: the right one of a pair wins only if it is larger.
  for (genvar l = 0; l <= Levels; l++) begin : gen_level
    localparam int unsigned Nodes = (Channels + 2**l - 1) / 2**l;
    logic signed [InBits:0] value_q [Nodes];
    logic [OutBits-1:0] index_q [Nodes];
    for (genvar k = 0; k < Nodes; k++) begin : gen_node
      if (l == 0) begin : gen_leaf
        logic signed [InBits:0] value;
        eq_decode #(
          .InBits(InBits),
          .Kind(InKind),
          .OutBits(InBits + 1)
        ) u_decode (
          .code_i(in_data_i[k*InBits +: InBits]),
          .value_o(value)
        );
        always_ff @(posedge clk_i) value_q[k] <= value;
        assign index_q[k] = OutBits'(k);
      end else if (2 * k + 1 < (Channels + 2**(l-1) - 1) / 2**(l-1)) begin : gen_pair
        logic right;
        assign right = gen_level[l-1].value_q[2*k+1] > gen_level[l-1].value_q[2*k];
        always_ff @(posedge clk_i) begin
          value_q[k] <= right ? gen_level[l-1].value_q[2*k+1] : gen_level[l-1].value_q[2*k];
          index_q[k] <= right ? gen_level[l-1].index_q[2*k+1] : gen_level[l-1].index_q[2*k];
        end
      end else begin : gen_bye
        always_ff @(posedge clk_i) begin
          value_q[k] <= gen_level[l-1].value_q[2*k];
          index_q[k] <= gen_level[l-1].index_q[2*k];
        end
      end
    end
  end
  logic unused_largest;
  assign unused_largest = ^gen_level[Levels].value_q[0];

  eq_outfifo #(
    .Width(OutBits),
    .Depth(Levels + 4)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(in_ready_o),
    .take_i(take),
    .push_i(valid_q[Levels]),
    .data_i(gen_level[Levels].index_q[0]),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
