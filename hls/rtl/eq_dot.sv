// Dot products of one slice of a patch with the weights of several output channels: integers by multipliers, or by shifters
// where weights come as signed digits, and an adder tree; {-1, +1} by {-1, +1} by XNOR and popcount. It keeps no sum: eq_mvu
// accumulates.
// Latency 1 cycle for binary operands, else 1 + ceil(log4(Simd * Digits)); a slice a cycle, never stalling.
module eq_dot #(
  /// Output channels at a time.
  parameter int unsigned Pe = 1,
  /// Terms of a channel at a time.
  parameter int unsigned Simd = 1,
  /// Different slices at a time: Pe / Spans neighbouring channels share one.
  parameter int unsigned Spans = 1,
  /// Bits of x.
  parameter int unsigned XBits = 8,
  /// Code of x, as eq_decode.
  parameter int unsigned XKind = 0,
  /// Bits of a weight.
  parameter int unsigned WBits = 8,
  /// Code of a weight, as eq_decode; 3: signed digits, each as eq_digit.
  parameter int unsigned WKind = 1,
  /// Signed digits of a weight; 1 where its code is another.
  parameter int unsigned Digits = 1,
  /// The largest shift of a digit.
  parameter int unsigned MaxShift = 0,
  /// Masked terms count 0.
  parameter bit          Masked = 1'b0,
  /// Bits of a dot product; it wraps. Of binary operands it is 2 * the number of equal bits.
  parameter int unsigned SumBits = 16,
  /// Bits that travel along.
  parameter int unsigned SideBits = 1
) (
  /// Clock.
  input  logic                        clk_i,
  /// Synchronous reset, active low, of the valid bit.
  input  logic                        rst_ni,
  /// Operands are there.
  input  logic                        valid_i,
  /// Slices, the first lowest.
  input  logic [Spans*Simd*XBits-1:0] x_i,
  /// A bit a term: 0 where it is padding.
  input  logic [Simd-1:0]             mask_i,
  /// Weights, channel by channel.
  input  logic [Pe*Simd*WBits-1:0]    weights_i,
  /// Bits that travel along.
  input  logic [SideBits-1:0]         side_i,
  /// Products are there.
  output logic                        valid_o,
  /// Dot products, channel by channel.
  output logic [Pe*SumBits-1:0]       sums_o,
  /// `side_i` of these products.
  output logic [SideBits-1:0]         side_o
);

  localparam bit Binary = XKind == 2 && WKind == 2;
  localparam int unsigned Latency = Binary ? 1 : 1 + ($clog2(Simd * Digits) + 1) / 2;
  localparam int unsigned Sharing = Pe / Spans;

  logic [Latency-1:0] valid_q;
  logic [Latency*SideBits-1:0] side_q;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) valid_q <= '0;
    else valid_q <= Latency'({valid_q, valid_i});
    side_q <= (Latency * SideBits)'({side_q, side_i});
  end
  assign valid_o = valid_q[Latency-1];
  assign side_o = side_q[(Latency-1)*SideBits +: SideBits];

  if (!Masked) begin : gen_unmasked
    logic unused;
    assign unused = ^mask_i;
  end

  if (Binary) begin : gen_binary
    localparam int unsigned CountBits = $clog2(Simd + 1);
    for (genvar p = 0; p < Pe; p++) begin : gen_pe
      logic [CountBits-1:0] count, count_q;
      if (Masked) begin : gen_masked
        eq_popcount #(
          .Width(Simd)
        ) u_count (
          .bits_i(~(weights_i[p*Simd +: Simd] ^ x_i[(p/Sharing)*Simd +: Simd]) & mask_i),
          .count_o(count)
        );
      end else begin : gen_whole
        eq_equal_count #(
          .Width(Simd)
        ) u_count (
          .a_i(weights_i[p*Simd +: Simd]),
          .b_i(x_i[(p/Sharing)*Simd +: Simd]),
          .count_o(count)
        );
      end
      always_ff @(posedge clk_i) count_q <= count;
      assign sums_o[p*SumBits +: SumBits] = SumBits'({count_q, 1'b0});
    end
  end else begin : gen_integer
    // With digits x is negated, and -x of the smallest two's complement code takes a bit more.
    localparam int unsigned XValueBits = XBits + (XKind == 1 && WKind != 3 ? 0 : 1);
    localparam int unsigned WValueBits = WBits + (WKind == 1 ? 0 : 1);
    localparam int unsigned ProductBits = WKind == 3 ? XValueBits + MaxShift : XValueBits + WValueBits;

    logic signed [XValueBits-1:0] x [Spans*Simd];
    for (genvar i = 0; i < Spans * Simd; i++) begin : gen_x
      logic signed [XValueBits-1:0] value;
      eq_decode #(
        .InBits(XBits),
        .Kind(XKind),
        .OutBits(XValueBits)
      ) u_decode (
        .code_i(x_i[i*XBits +: XBits]),
        .value_o(value)
      );
      if (Masked) begin : gen_masked
        assign x[i] = mask_i[i % Simd] ? value : '0;
      end else begin : gen_whole
        assign x[i] = value;
      end
    end

    if (WKind == 3) begin : gen_minus
      logic signed [XValueBits-1:0] minus [Spans*Simd];
      for (genvar i = 0; i < Spans * Simd; i++) begin : gen_x
        assign minus[i] = -x[i];
      end
    end

    for (genvar p = 0; p < Pe; p++) begin : gen_pe
      logic [Simd*Digits*ProductBits-1:0] products;
      for (genvar s = 0; s < Simd; s++) begin : gen_term
        if (WKind == 3) begin : gen_digits
          localparam int unsigned DigitBits = WBits / Digits;
          for (genvar d = 0; d < Digits; d++) begin : gen_digit
            logic signed [ProductBits-1:0] term, term_q;
            eq_digit #(
              .InBits(XValueBits),
              .MaxShift(MaxShift),
              .OutBits(ProductBits)
            ) u_digit (
              .value_i(x[(p/Sharing)*Simd + s]),
              .minus_i(gen_minus.minus[(p/Sharing)*Simd + s]),
              .digit_i(weights_i[(p*Simd + s)*WBits + d*DigitBits +: DigitBits]),
              .product_o(term)
            );
            always_ff @(posedge clk_i) term_q <= term;
            assign products[(s*Digits + d)*ProductBits +: ProductBits] = term_q;
          end
        end else if (WKind == 2) begin : gen_sign
          logic signed [ProductBits-1:0] value, product_q;
          assign value = ProductBits'(x[(p/Sharing)*Simd + s]);
          always_ff @(posedge clk_i) product_q <= weights_i[p*Simd + s] ? value : -value;
          assign products[s*ProductBits +: ProductBits] = product_q;
        end else if (WKind == 0 && WBits == 1) begin : gen_gate
          logic signed [ProductBits-1:0] product_q;
          always_ff @(posedge clk_i) product_q <= weights_i[p*Simd + s] ? ProductBits'(x[(p/Sharing)*Simd + s]) : '0;
          assign products[s*ProductBits +: ProductBits] = product_q;
        end else begin : gen_product
          logic signed [ProductBits-1:0] value, product_q;
          assign value = ProductBits'(x[(p/Sharing)*Simd + s]);
          logic signed [WValueBits-1:0] weight;
          eq_decode #(
            .InBits(WBits),
            .Kind(WKind),
            .OutBits(WValueBits)
          ) u_decode (
            .code_i(weights_i[(p*Simd + s)*WBits +: WBits]),
            .value_o(weight)
          );
          always_ff @(posedge clk_i) product_q <= value * ProductBits'(weight);
          assign products[s*ProductBits +: ProductBits] = product_q;
        end
      end
      eq_sum #(
        .Terms(Simd * Digits),
        .InBits(ProductBits),
        .OutBits(SumBits)
      ) u_sum (
        .clk_i,
        .terms_i(products),
        .sum_o(sums_o[p*SumBits +: SumBits])
      );
    end
  end

endmodule
