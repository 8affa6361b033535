// What follows an accumulator: nothing, thresholds or requantization, with the parameters of each channel. Values come and go
// with a valid bit and without back-pressure; channels Lanes*index, Lanes*index + 1, ... are on the lanes.
// Latency 0, 2 or 3 cycles (Kind 0, 1, 2); one value a lane a cycle.
module eq_post #(
  /// Values at a time.
  parameter int unsigned Lanes = 1,
  /// Different indices: channels / Lanes.
  parameter int unsigned Indices = 1,
  /// Bits of x, two's complement.
  parameter int unsigned InBits = 8,
  /// Bits of y.
  parameter int unsigned OutBits = 8,
  /// Eight 64-bit fields, lowest first: kind (0 none, 1 thresholds, 2 requantize), y is bipolar, levels or multiplier bits,
  /// base or smallest y, step or largest y, bits of a sum, shift, and of a requantize a byte each: round half to even, signed
  /// digits of a multiplier, the largest shift of one. Bit 511 is set.
  parameter logic [511:0] Post = {1'b1, 511'b0},
  /// The parameters: a word an index, lane 0 lowest.
  parameter File = "",
  /// Bits of an index; derived, do not set.
  parameter int unsigned IndexBits = Indices > 1 ? $clog2(Indices) : 1
) (
  /// Clock.
  input  logic                     clk_i,
  /// Synchronous reset, active low.
  input  logic                     rst_ni,
  /// The index of the next cycle's x.
  input  logic [IndexBits-1:0]     next_index_i,
  /// x is there.
  input  logic                     valid_i,
  /// x, lane 0 lowest.
  input  logic [Lanes*InBits-1:0]  x_i,
  /// y is there.
  output logic                     valid_o,
  /// y, lane 0 lowest.
  output logic [Lanes*OutBits-1:0] y_o
);

  localparam int unsigned Kind = int'(Post[31:0]);
  localparam bit Bipolar = Post[64];
  localparam int unsigned Terms = int'(Post[159:128]);
  localparam int unsigned SumBits = int'(Post[351:320]);

  if (Kind > 2 || !Post[511]) begin : gen_bad_post
    $fatal(1, "eq_post: Post must be a configuration of kind 0, 1 or 2, got %h", Post);
  end

  if (Kind == 0) begin : gen_none
    logic unused;
    assign unused = ^{clk_i, rst_ni, next_index_i};
    assign valid_o = valid_i;
    for (genvar i = 0; i < Lanes; i++) begin : gen_lane
      if (Bipolar) begin : gen_bipolar
        assign y_o[i*OutBits +: OutBits] = !x_i[i*InBits + InBits - 1];
        if (InBits > 1) begin : gen_unused
          logic unused_lane;
          assign unused_lane = ^x_i[i*InBits +: InBits-1];
        end
      end else begin : gen_integer
        logic [InBits:0] x;
        assign x = {x_i[i*InBits + InBits - 1], x_i[i*InBits +: InBits]};
        assign y_o[i*OutBits +: OutBits] = x[OutBits-1:0];
        if (InBits >= OutBits) begin : gen_unused
          logic unused_lane;
          assign unused_lane = ^x[InBits:OutBits];
        end
      end
    end
  end else begin : gen_post
    localparam int unsigned Latency = Kind == 1 ? 2 : 3;
    localparam int unsigned ParamBits = Kind == 1 ? Terms * (InBits + 1) + 1 : Terms + SumBits;
    logic [Lanes*ParamBits-1:0] params;
    logic [Latency-1:0] valid_q;

    eq_rom #(
      .Width(Lanes * ParamBits),
      .Depth(Indices),
      .File(File)
    ) u_params (
      .clk_i,
      .addr_i(next_index_i),
      .data_o(params)
    );

    always_ff @(posedge clk_i) begin
      if (!rst_ni) valid_q <= '0;
      else valid_q <= {valid_q[Latency-2:0], valid_i};
    end
    assign valid_o = valid_q[Latency-1];

    if (Kind == 1) begin : gen_threshold
      eq_threshold #(
        .Lanes(Lanes),
        .InBits(InBits),
        .Levels(Terms),
        .Base(Post[255:192]),
        .Step(Post[319:256]),
        .Bipolar(Bipolar),
        .OutBits(OutBits)
      ) u_threshold (
        .clk_i,
        .enable_i({valid_q[0], valid_i}),
        .x_i,
        .params_i(params),
        .y_o
      );
    end else begin : gen_requantize
      eq_requantize #(
        .Lanes(Lanes),
        .InBits(InBits),
        .MulBits(Terms),
        .Digits(int'(Post[463:456])),
        .MaxShift(int'(Post[471:464])),
        .SumBits(SumBits),
        .Shift(int'(Post[415:384])),
        .HalfEven(Post[448]),
        .Lo(Post[255:192]),
        .Hi(Post[319:256]),
        .OutBits(OutBits)
      ) u_requantize (
        .clk_i,
        .x_i,
        .params_i(params),
        .y_o
      );
    end
  end

endmodule
