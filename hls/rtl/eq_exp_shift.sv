// ExpShift, I-ViT's integer exponential of -distance * Slope, in units of 2**-Point: about 2**(Point+Shift) * exp, by shifts and one
// multiplication by a constant. Softmax and GELU share it; ops/_exp_shift.py has the formula.
// Latency 4 cycles; one a cycle, never stalling.
module eq_exp_shift #(
  /// Bits of a distance.
  parameter int unsigned InBits = 8,
  /// What a distance is multiplied by, at most Shift * 2**Point: more changes nothing.
  parameter int unsigned Slope = 1,
  /// Bits of the exponent behind the point.
  parameter int unsigned Point = 8,
  /// The exponent is cut off at -Shift; at least 1, with Point at most 30.
  parameter int unsigned Shift = 15,
  /// Bits of the exponential; derived, do not set.
  parameter int unsigned OutBits = Point + Shift + 1
) (
  /// Clock.
  input  logic               clk_i,
  /// Distance, unsigned.
  input  logic [InBits-1:0]  distance_i,
  /// Its exponential, four cycles later: 2**Point to 2**(Point+Shift).
  output logic [OutBits-1:0] e_o
);

  localparam int unsigned Cutoff = Shift << Point;
  // From this distance on, exponentials are the same.
  localparam int unsigned Far = (Cutoff + Slope - 1) / Slope;
  localparam int unsigned FarBits = $clog2(Far + 1);
  localparam int unsigned NearBits = InBits < FarBits ? InBits : FarBits;
  localparam int unsigned ScaledBits = $clog2(Cutoff + Slope);
  localparam int unsigned WideBits = (ScaledBits < 4 ? 4 : ScaledBits) + 1;
  localparam int unsigned CutBits = $clog2(Cutoff + 1);
  localparam int unsigned WholeBits = CutBits - Point;
  localparam int unsigned LineBits = Point + 2;

  if (Slope < 1 || Slope > Cutoff || Shift < 1 || Point + Shift > 30) begin : gen_bad
    $fatal(1, "eq_exp_shift: Slope %0d, Point %0d and Shift %0d are out of range", Slope, Point, Shift);
  end

  // Stage 1: far distances are all the same.
  logic [NearBits-1:0] near_q;
  if (64'(Far) + 1 >= 64'(1) << InBits) begin : gen_near
    always_ff @(posedge clk_i) near_q <= distance_i;
  end else begin : gen_far
    always_ff @(posedge clk_i) near_q <= distance_i > InBits'(Far) ? NearBits'(Far) : distance_i[NearBits-1:0];
  end

  // Stage 2: -t.
  logic [ScaledBits-1:0] scaled_q;
  always_ff @(posedge clk_i) scaled_q <= ScaledBits'(near_q) * ScaledBits'(Slope);

  // Stage 3: times log2(e), about 1 + 1/2 - 1/16. Of -t, a shift right rounds up.
  logic [WideBits-1:0] scaled, stretched;
  logic [CutBits-1:0] cut_q;
  assign scaled = WideBits'(scaled_q);
  assign stretched = scaled + ((scaled + 1'b1) >> 1) - ((scaled + WideBits'(15)) >> 4);
  always_ff @(posedge clk_i) cut_q <= stretched > WideBits'(Cutoff) ? CutBits'(Cutoff) : CutBits'(stretched);

  // Stage 4: a line from 2 to 1 over the part behind the point, shifted by the whole part.
  logic [WholeBits-1:0] whole;
  logic [LineBits-1:0] line;
  assign whole = cut_q[Point +: WholeBits];
  if (Point == 0) begin : gen_flat
    assign line = LineBits'(2);
  end else begin : gen_line
    assign line = (LineBits'(2) << Point) - LineBits'(cut_q[Point-1:0]);
  end
  always_ff @(posedge clk_i) e_o <= OutBits'(({line, {Shift{1'b0}}} >> whole) >> 1);

endmodule
