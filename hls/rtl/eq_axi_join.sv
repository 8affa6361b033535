// Joins pieces to words, the first piece lowest. A word ends early with its frame: zeros are above. The other way round:
// eq_axi_split.
// Latency 1 cycle from the last piece of a word; one piece a cycle.
module eq_axi_join #(
  /// Bits of a piece.
  parameter int unsigned Width = 8,
  /// Pieces of a word.
  parameter int unsigned Pieces = 1,
  /// Pieces of a frame.
  parameter int unsigned Frame = 1
) (
  /// Clock.
  input  logic                    clk_i,
  /// Synchronous reset, active low; a frame begins after it.
  input  logic                    rst_ni,
  /// Input stream.
  input  logic                    in_valid_i,
  /// Input stream.
  output logic                    in_ready_o,
  /// Input stream.
  input  logic [Width-1:0]        in_data_i,
  /// Output stream.
  output logic                    out_valid_o,
  /// Output stream.
  input  logic                    out_ready_i,
  /// Output stream.
  output logic [Pieces*Width-1:0] out_data_o,
  /// Output stream: the last word of a frame.
  output logic                    out_last_o
);

  localparam int unsigned FillBits = $clog2(Pieces + 1);
  localparam int unsigned FrameBits = $clog2(Frame + 1);
  // Places that the last word of a frame leaves empty.
  localparam int unsigned Empty = (Pieces - Frame % Pieces) % Pieces;

  logic [Pieces*Width-1:0] word_q, word_d;
  logic [FillBits-1:0] fill_q;
  logic [FrameBits-1:0] place_q;
  logic accept, ends_frame, full_q;

  assign out_valid_o = full_q;
  assign out_data_o = out_last_o ? word_q >> (Empty * Width) : word_q;
  assign in_ready_o = !full_q || out_ready_i;
  assign accept = in_valid_i && in_ready_o;
  assign ends_frame = place_q == FrameBits'(Frame - 1);

  if (Pieces == 1) begin : gen_single
    assign word_d = in_data_i;
  end else begin : gen_shift
    assign word_d = {in_data_i, word_q[Pieces*Width-1:Width]};
  end

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      fill_q <= '0;
      place_q <= '0;
      full_q <= 1'b0;
    end else if (accept) begin
      fill_q <= ends_frame || fill_q == FillBits'(Pieces - 1) ? '0 : fill_q + 1'b1;
      place_q <= ends_frame ? '0 : place_q + 1'b1;
      full_q <= ends_frame || fill_q == FillBits'(Pieces - 1);
    end else if (out_ready_i) begin
      full_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (accept) begin
      word_q <= word_d;
      out_last_o <= ends_frame;
    end
  end

endmodule
