// The integer square root, rounded down: a subtraction a digit, a digit a cycle, without a divider or a stream. eq_isqrt is
// the operator.
// Latency Digits cycles, never stalling; a root a cycle, or where it is iterative, one in Digits cycles.
module eq_root #(
  /// Bits of x, unsigned.
  parameter int unsigned Bits = 8,
  /// One digit of hardware that works on one x; else one for each digit.
  parameter bit          Iterative = 1'b0,
  /// Bits of the root; derived, do not set.
  parameter int unsigned Digits = (Bits + 1) / 2
) (
  /// Clock.
  input  logic              clk_i,
  /// x is there: of use where it is iterative, which needs Digits - 1 cycles without it then.
  input  logic              first_i,
  /// x.
  input  logic [Bits-1:0]   x_i,
  /// Its root, Digits cycles later.
  output logic [Digits-1:0] root_o
);

  localparam int unsigned XBits = 2 * Digits;
  localparam int unsigned RestBits = Digits + 2;
  localparam int unsigned StateBits = XBits + RestBits + Digits;

  // {what is left of x, highest digit first; x so far minus the square of the root so far; this root}, a digit of base 4 later.
  function automatic logic [StateBits-1:0] digit(input logic [StateBits-1:0] state);
    logic [XBits-1:0] x;
    logic [RestBits-1:0] rest;
    logic [RestBits:0] less;
    logic [Digits-1:0] root;
    logic one;
    {x, rest, root} = state;
    rest = RestBits'({rest, x[XBits-1 -: 2]});
    less = {1'b0, rest} - {1'b0, root, 2'b01};
    one = !less[RestBits];
    digit = {XBits'({x, 2'b00}), one ? less[RestBits-1:0] : rest, Digits'({root, one})};
  endfunction

  logic [StateBits-1:0] start;
  assign start = {XBits'(x_i), {(RestBits + Digits){1'b0}}};

  if (Iterative) begin : gen_iterative
    logic [StateBits-1:0] state_q;
    always_ff @(posedge clk_i) state_q <= digit(first_i ? start : state_q);
    assign root_o = state_q[Digits-1:0];
  end else begin : gen_pipeline
    logic [StateBits-1:0] state_q [Digits];
    logic unused;
    assign unused = ^{first_i, state_q[Digits-1][StateBits-1:Digits]};
    for (genvar i = 0; i < Digits; i++) begin : gen_digit
      if (i == 0) begin : gen_first
        always_ff @(posedge clk_i) state_q[i] <= digit(start);
      end else begin : gen_next
        always_ff @(posedge clk_i) state_q[i] <= digit(state_q[i-1]);
      end
    end
    assign root_o = state_q[Digits-1][Digits-1:0];
  end

endmodule
