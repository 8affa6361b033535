// Division of unsigned numbers, rounded down: a subtraction a digit, a digit a cycle, without a stream. By a constant, multiply and
// shift instead.
// Latency Digits cycles, never stalling; a quotient a cycle, or where it is iterative, one in Digits cycles.
module eq_divide #(
  /// Bits of the dividend.
  parameter int unsigned NumBits = 16,
  /// Bits of the divisor.
  parameter int unsigned DenBits = 8,
  /// Bits of the quotient, at most NumBits; it must fit: dividend < divisor * 2**Digits. Of a division by 0 it is anything.
  parameter int unsigned Digits = NumBits,
  /// One digit of hardware that works on one division; else one for each digit.
  parameter bit          Iterative = 1'b0
) (
  /// Clock.
  input  logic               clk_i,
  /// Dividend and divisor are there: of use where it is iterative, which needs Digits - 1 cycles without it then.
  input  logic               first_i,
  /// Dividend.
  input  logic [NumBits-1:0] num_i,
  /// Divisor.
  input  logic [DenBits-1:0] den_i,
  /// Quotient, Digits cycles later.
  output logic [Digits-1:0]  quotient_o
);

  if (Digits < 1 || Digits > NumBits) begin : gen_bad
    $fatal(1, "eq_divide: Digits must be 1 to NumBits (%0d), got %0d", NumBits, Digits);
  end

  localparam int unsigned StateBits = 2 * DenBits + Digits;

  // {divisor; remainder so far, below it; what is left of the dividend, highest digit first, and then this quotient}, a digit later.
  function automatic logic [StateBits-1:0] digit(input logic [StateBits-1:0] state);
    logic [DenBits-1:0] den, rest;
    logic [Digits-1:0] num;
    logic [DenBits:0] trial;
    logic [DenBits+1:0] less;
    logic one;
    {den, rest, num} = state;
    trial = {rest, num[Digits-1]};
    less = {1'b0, trial} - {2'b0, den};
    one = !less[DenBits+1];
    digit = {den, one ? less[DenBits-1:0] : trial[DenBits-1:0], Digits'({num, one})};
  endfunction

  logic [StateBits-1:0] start;
  assign start = {den_i, DenBits'(num_i >> Digits), num_i[Digits-1:0]};

  if (Iterative) begin : gen_iterative
    logic [StateBits-1:0] state_q;
    always_ff @(posedge clk_i) state_q <= digit(first_i ? start : state_q);
    assign quotient_o = state_q[Digits-1:0];
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
    assign quotient_o = state_q[Digits-1][Digits-1:0];
  end

endmodule
