// Softmax along rows in integers: y = e * ((2**31 - 1) / sum of e) >> (32 - Bits), e = ExpShift((x - largest of the row) * Slope).
// Three passes over a row, each of which works on another row: its largest; exponentials and their sum; products. Between the last
// two stands one division a row and channel, iterative, while the next row comes. NearMax needs none of this.
// A beat a cycle where a row has as many beats as a quotient digits (31 - Point - Shift, at most 30), else a row in that many cycles.
// Latency from the last beat of a row: Keys + 43 - Point - Shift cycles.
module eq_shiftmax #(
  /// Beats of a row.
  parameter int unsigned Keys = 4,
  /// Channels: heads of attention.
  parameter int unsigned Channels = 1,
  /// Bits of an input channel.
  parameter int unsigned InBits = 8,
  /// Code of an input channel, as eq_decode.
  parameter int unsigned InKind = 0,
  /// As eq_exp_shift, for a step of the code.
  parameter int unsigned Slope = 1,
  /// As eq_exp_shift.
  parameter int unsigned Point = 8,
  /// As eq_exp_shift. Keys * 2**(Point+Shift) must be below 2**31.
  parameter int unsigned Shift = 15,
  /// 1 is 2**(Bits-1).
  parameter int unsigned Bits = 16,
  /// Bits of an output channel.
  parameter int unsigned OutBits = 15
) (
  /// Clock.
  input  logic                        clk_i,
  /// Synchronous reset, active low.
  input  logic                        rst_ni,
  /// Input stream.
  input  logic                        in_valid_i,
  /// Input stream.
  output logic                        in_ready_o,
  /// Input stream.
  input  logic [Channels*InBits-1:0]  in_data_i,
  /// Output stream.
  output logic                        out_valid_o,
  /// Output stream.
  input  logic                        out_ready_i,
  /// Output stream.
  output logic [Channels*OutBits-1:0] out_data_o
);

  localparam int unsigned TopBits = 31;
  localparam logic [TopBits-1:0] Top = '1;
  localparam int unsigned ExpBits = Point + Shift + 1;
  localparam int unsigned SumBits = $clog2((Keys << (Point + Shift)) + 1);
  localparam int unsigned Digits = TopBits - Point - Shift;
  localparam int unsigned ExpLatency = 6;
  // Rows from their first exponential to the start of their division, enough for one to start every Keys cycles; and from there to
  // their last product.
  localparam int unsigned Summed = (2 * Keys + ExpLatency + 1) / Keys;
  localparam int unsigned Divided = 3;
  localparam int unsigned KeyBits = Keys > 1 ? $clog2(Keys) : 1;
  localparam int unsigned CountBits = $clog2(Digits + 1);

  if (64'(Keys) << (Point + Shift) > 64'(Top) || Bits < 2 || Bits > 32) begin : gen_bad
    $fatal(1, "eq_shiftmax: %0d keys of %0d bits, %0d bits out", Keys, ExpBits, Bits);
  end

  // Exponentials: distances two cycles after they are read, exponentials four cycles later.
  logic row_valid, sum_credit, read, last;
  logic [Channels*InBits-1:0] distance;
  logic [ExpLatency-1:0] valid_q, last_q;
  logic [Channels*ExpBits-1:0] e;
  logic [Channels*SumBits-1:0] sums_q;
  logic exp_valid, begin_q, sum_push_q;
  assign read = row_valid && sum_credit;
  assign exp_valid = valid_q[ExpLatency-1];
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
    if (!rst_ni) begin
      valid_q <= '0;
      begin_q <= 1'b1;
      sum_push_q <= 1'b0;
    end else begin
      valid_q <= ExpLatency'({valid_q, read});
      sum_push_q <= exp_valid && last_q[ExpLatency-1];
      if (exp_valid) begin_q <= last_q[ExpLatency-1];
    end
  end
  always_ff @(posedge clk_i) last_q <= ExpLatency'({last_q, last});
  for (genvar c = 0; c < Channels; c++) begin : gen_exp
    eq_exp_shift #(
      .InBits(InBits),
      .Slope(Slope),
      .Point(Point),
      .Shift(Shift)
    ) u_exp (
      .clk_i,
      .distance_i(distance[c*InBits +: InBits]),
      .e_o(e[c*ExpBits +: ExpBits])
    );
    always_ff @(posedge clk_i) begin
      if (exp_valid) begin
        sums_q[c*SumBits +: SumBits] <= (begin_q ? '0 : sums_q[c*SumBits +: SumBits]) + SumBits'(e[c*ExpBits +: ExpBits]);
      end
    end
  end

  logic sum_valid, start;
  logic [Channels*SumBits-1:0] sums;
  eq_outfifo #(
    .Width(Channels * SumBits),
    .Depth(Summed)
  ) u_sums (
    .clk_i,
    .rst_ni,
    .credit_o(sum_credit),
    .take_i(read && last),
    .push_i(sum_push_q),
    .data_i(sums_q),
    .out_valid_o(sum_valid),
    .out_ready_i(start),
    .out_data_o(sums)
  );

  // The division.
  logic row_credit, divided_q;
  logic [CountBits-1:0] left_q;
  logic [Channels*Digits-1:0] quotients;
  assign start = sum_valid && row_credit && left_q == '0;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      left_q <= '0;
      divided_q <= 1'b0;
    end else begin
      left_q <= start ? CountBits'(Digits - 1) : left_q - CountBits'(left_q != '0);
      divided_q <= Digits == 1 ? start : left_q == CountBits'(1);
    end
  end
  for (genvar c = 0; c < Channels; c++) begin : gen_divide
    eq_divide #(
      .NumBits(TopBits),
      .DenBits(SumBits),
      .Digits(Digits),
      .Iterative(1'b1)
    ) u_divide (
      .clk_i,
      .first_i(start),
      .num_i(Top),
      .den_i(sums[c*SumBits +: SumBits]),
      .quotient_o(quotients[c*Digits +: Digits])
    );
  end

  logic factor_valid, step, row_end;
  logic [Channels*Digits-1:0] factors, factors_q;
  eq_outfifo #(
    .Width(Channels * Digits),
    .Depth(Divided)
  ) u_factors (
    .clk_i,
    .rst_ni,
    .credit_o(row_credit),
    .take_i(start),
    .push_i(divided_q),
    .data_i(quotients),
    .out_valid_o(factor_valid),
    .out_ready_i(step && row_end),
    .out_data_o(factors)
  );

  // Products: exponentials come back a cycle after they are read.
  logic out_credit, step_q, push_q;
  logic [KeyBits-1:0] key_q;
  logic [Channels*ExpBits-1:0] stored;
  logic [Channels*OutBits-1:0] y;
  assign step = factor_valid && out_credit;
  assign row_end = key_q == KeyBits'(Keys - 1);
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      key_q <= '0;
      {push_q, step_q} <= '0;
    end else begin
      {push_q, step_q} <= {step_q, step};
      if (step) key_q <= row_end ? '0 : key_q + 1'b1;
    end
  end
  always_ff @(posedge clk_i) factors_q <= factors;
  eq_ring #(
    .Width(Channels * ExpBits),
    .Depth((Summed + Divided) * Keys)
  ) u_exponentials (
    .clk_i,
    .rst_ni,
    .write_i(exp_valid),
    .wdata_i(e),
    .read_i(step),
    .rdata_o(stored)
  );
  for (genvar c = 0; c < Channels; c++) begin : gen_product
    logic [31:0] product_q;
    always_ff @(posedge clk_i) product_q <= 32'(stored[c*ExpBits +: ExpBits]) * 32'(factors_q[c*Digits +: Digits]);
    assign y[c*OutBits +: OutBits] = OutBits'(product_q >> (32 - Bits));
  end

  eq_outfifo #(
    .Width(Channels * OutBits),
    .Depth(4)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(out_credit),
    .take_i(step),
    .push_i(push_q),
    .data_i(y),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
