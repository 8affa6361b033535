// Nearest-neighbour upsampling: each pixel FactorW times, each row FactorH times. It stores one row.
// Latency 2 cycles; an output pixel a cycle.
module eq_upsample #(
  /// Columns of the input.
  parameter int unsigned W = 4,
  /// Bits of a pixel with all its channels.
  parameter int unsigned PixBits = 8,
  /// Copies of a row.
  parameter int unsigned FactorH = 2,
  /// Copies of a pixel.
  parameter int unsigned FactorW = 2
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

  if (FactorH < 1 || FactorW < 1) begin : gen_bad
    $fatal(1, "eq_upsample: factors must be 1 or more, got %0d and %0d", FactorH, FactorW);
  end

  localparam int unsigned Bits = $clog2((W > FactorH ? (W > FactorW ? W : FactorW) : (FactorH > FactorW ? FactorH : FactorW)) + 1);

  // The copy of the row, its column, and the copy of the pixel.
  logic [Bits-1:0] pass_q, col_q, copy_q;
  logic credit, step, fresh, fresh_q, valid_q;
  logic [PixBits-1:0] pixel_q, y;

  // A fresh pixel comes from the input, in the first copy of a row.
  assign fresh = pass_q == '0 && copy_q == '0;
  assign step = credit && (in_valid_i || !fresh);
  assign in_ready_o = credit && fresh;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      pass_q <= '0;
      col_q <= '0;
      copy_q <= '0;
      valid_q <= 1'b0;
    end else begin
      valid_q <= step;
      if (step) begin
        copy_q <= copy_q == Bits'(FactorW - 1) ? '0 : copy_q + 1'b1;
        if (copy_q == Bits'(FactorW - 1)) begin
          col_q <= col_q == Bits'(W - 1) ? '0 : col_q + 1'b1;
          if (col_q == Bits'(W - 1)) pass_q <= pass_q == Bits'(FactorH - 1) ? '0 : pass_q + 1'b1;
        end
      end
    end
  end
  always_ff @(posedge clk_i) begin
    if (step && fresh) pixel_q <= in_data_i;
    fresh_q <= pass_q == '0;
  end

  if (W == 1 || FactorH == 1) begin : gen_pixel
    logic unused;
    assign unused = fresh_q;
    assign y = pixel_q;
  end else begin : gen_row
    localparam int unsigned AddrBits = $clog2(W);
    logic [PixBits-1:0] stored;
    eq_ram #(
      .Width(PixBits),
      .Depth(W)
    ) u_row (
      .clk_i,
      .write_i(step && fresh),
      .waddr_i(AddrBits'(col_q)),
      .wdata_i(in_data_i),
      .read_i(step && pass_q != '0),
      .raddr_i(AddrBits'(col_q)),
      .rdata_o(stored)
    );
    assign y = fresh_q ? pixel_q : stored;
  end

  eq_outfifo #(
    .Width(PixBits),
    .Depth(4)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(credit),
    .take_i(step),
    .push_i(valid_q),
    .data_i(y),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
