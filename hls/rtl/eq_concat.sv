// The channels of one stream, then those of another, a pixel at a time. It waits for both: behind a fork, an input may need an
// eq_fifo.
// Latency 1 cycle; a pixel a cycle.
module eq_concat #(
  /// Channels of the first input.
  parameter int unsigned Channels0 = 1,
  /// Channels of the second input.
  parameter int unsigned Channels1 = 1,
  /// Bits of a channel of the first input.
  parameter int unsigned In0Bits = 8,
  /// Its code, as eq_decode.
  parameter int unsigned In0Kind = 0,
  /// Bits of a channel of the second input.
  parameter int unsigned In1Bits = 8,
  /// Its code, as eq_decode.
  parameter int unsigned In1Kind = 0,
  /// Bits of an output channel.
  parameter int unsigned OutBits = 8,
  /// Code of the output, as eq_decode.
  parameter int unsigned OutKind = 0
) (
  /// Clock.
  input  logic                                     clk_i,
  /// Synchronous reset, active low.
  input  logic                                     rst_ni,
  /// First input stream.
  input  logic                                     in0_valid_i,
  /// First input stream.
  output logic                                     in0_ready_o,
  /// First input stream.
  input  logic [Channels0*In0Bits-1:0]             in0_data_i,
  /// Second input stream.
  input  logic                                     in1_valid_i,
  /// Second input stream.
  output logic                                     in1_ready_o,
  /// Second input stream.
  input  logic [Channels1*In1Bits-1:0]             in1_data_i,
  /// Output stream.
  output logic                                     out_valid_o,
  /// Output stream.
  input  logic                                     out_ready_i,
  /// Output stream.
  output logic [(Channels0+Channels1)*OutBits-1:0] out_data_o
);

  localparam int unsigned WidestIn = In0Bits > In1Bits ? In0Bits : In1Bits;
  localparam int unsigned ValueBits = (WidestIn > OutBits ? WidestIn : OutBits) + 1;

  logic credit, take;
  assign take = in0_valid_i && in1_valid_i && credit;
  assign in0_ready_o = in1_valid_i && credit;
  assign in1_ready_o = in0_valid_i && credit;

  logic [(Channels0+Channels1)*OutBits-1:0] y;
  for (genvar c = 0; c < Channels0; c++) begin : gen_channel0
    logic signed [ValueBits-1:0] value;
    eq_decode #(
      .InBits(In0Bits),
      .Kind(In0Kind),
      .OutBits(ValueBits)
    ) u_decode (
      .code_i(in0_data_i[c*In0Bits +: In0Bits]),
      .value_o(value)
    );
    eq_encode #(
      .InBits(ValueBits),
      .Kind(OutKind),
      .OutBits(OutBits)
    ) u_encode (
      .value_i(value),
      .code_o(y[c*OutBits +: OutBits])
    );
  end
  for (genvar c = 0; c < Channels1; c++) begin : gen_channel1
    logic signed [ValueBits-1:0] value;
    eq_decode #(
      .InBits(In1Bits),
      .Kind(In1Kind),
      .OutBits(ValueBits)
    ) u_decode (
      .code_i(in1_data_i[c*In1Bits +: In1Bits]),
      .value_o(value)
    );
    eq_encode #(
      .InBits(ValueBits),
      .Kind(OutKind),
      .OutBits(OutBits)
    ) u_encode (
      .value_i(value),
      .code_o(y[(Channels0 + c)*OutBits +: OutBits])
    );
  end

  eq_outfifo #(
    .Width((Channels0 + Channels1) * OutBits),
    .Depth(3)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(credit),
    .take_i(take),
    .push_i(take),
    .data_i(y),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
