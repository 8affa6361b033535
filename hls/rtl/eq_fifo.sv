// First in, first out, between two streams: Depth words, and 4 more above 64. The exact schedule of a network says how many it
// needs. It gives no credits (eq_outfifo).
// Latency 1 cycle up to 64 words, 3 cycles above (block RAM); one word a cycle from 2 words on, one in two cycles with 1.
module eq_fifo #(
  /// Bits of a word.
  parameter int unsigned Width = 8,
  /// Words that it takes without one being read.
  parameter int unsigned Depth = 2
) (
  /// Clock.
  input  logic             clk_i,
  /// Synchronous reset, active low.
  input  logic             rst_ni,
  /// Input stream.
  input  logic             in_valid_i,
  /// Input stream.
  output logic             in_ready_o,
  /// Input stream.
  input  logic [Width-1:0] in_data_i,
  /// Output stream.
  output logic             out_valid_o,
  /// Output stream.
  input  logic             out_ready_i,
  /// Output stream.
  output logic [Width-1:0] out_data_o
);

  logic push;
  assign push = in_valid_i && in_ready_o;

  if (Depth <= 64) begin : gen_small
    eq_outfifo #(
      .Width(Width),
      .Depth(Depth)
    ) u_fifo (
      .clk_i,
      .rst_ni,
      .credit_o(in_ready_o),
      .take_i(push),
      .push_i(push),
      .data_i(in_data_i),
      .out_valid_o,
      .out_ready_i,
      .out_data_o
    );
  end else begin : gen_large
    localparam int unsigned AddrBits = $clog2(Depth);
    localparam int unsigned CountBits = $clog2(Depth + 1);
    logic [CountBits-1:0] count_q;
    logic [AddrBits-1:0] head_q, tail_q;
    logic read, read_q, credit;
    logic [Width-1:0] word;

    assign in_ready_o = count_q < CountBits'(Depth);
    assign read = count_q != '0 && credit;

    always_ff @(posedge clk_i) begin
      if (!rst_ni) begin
        count_q <= '0;
        head_q <= '0;
        tail_q <= '0;
        read_q <= 1'b0;
      end else begin
        count_q <= count_q + CountBits'(push) - CountBits'(read);
        if (read) head_q <= head_q == AddrBits'(Depth - 1) ? '0 : head_q + 1'b1;
        if (push) tail_q <= tail_q == AddrBits'(Depth - 1) ? '0 : tail_q + 1'b1;
        read_q <= read;
      end
    end

    eq_ram #(
      .Width(Width),
      .Depth(Depth)
    ) u_ram (
      .clk_i,
      .write_i(push),
      .waddr_i(tail_q),
      .wdata_i(in_data_i),
      .read_i(read),
      .raddr_i(head_q),
      .rdata_o(word)
    );

    eq_outfifo #(
      .Width(Width),
      .Depth(4)
    ) u_fifo (
      .clk_i,
      .rst_ni,
      .credit_o(credit),
      .take_i(read),
      .push_i(read_q),
      .data_i(word),
      .out_valid_o,
      .out_ready_i,
      .out_data_o
    );
  end

endmodule
