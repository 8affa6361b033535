// Splits words into pieces, the lowest piece first. The last word of a frame may hold fewer pieces: what is above them is
// dropped. The other way round: eq_axi_join.
// Latency 1 cycle; one piece a cycle.
module eq_axi_split #(
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
  input  logic [Pieces*Width-1:0] in_data_i,
  /// Output stream.
  output logic                    out_valid_o,
  /// Output stream.
  input  logic                    out_ready_i,
  /// Output stream.
  output logic [Width-1:0]        out_data_o,
  /// Output stream: the last piece of a frame.
  output logic                    out_last_o
);

  localparam int unsigned LeftBits = $clog2(Pieces + 1);
  localparam int unsigned FrameBits = $clog2(Frame + 1);

  logic [Pieces*Width-1:0] word_q;
  logic [LeftBits-1:0] left_q;
  logic [FrameBits-1:0] place_q;
  logic take, done;

  assign out_valid_o = left_q != '0;
  assign out_data_o = word_q[Width-1:0];
  assign out_last_o = place_q == FrameBits'(Frame - 1);
  assign take = out_valid_o && out_ready_i;
  assign done = take && (left_q == LeftBits'(1) || out_last_o);
  assign in_ready_o = left_q == '0 || done;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      left_q <= '0;
      place_q <= '0;
    end else begin
      if (in_valid_i && in_ready_o) left_q <= LeftBits'(Pieces);
      else if (done) left_q <= '0;
      else if (take) left_q <= left_q - 1'b1;
      if (take) place_q <= out_last_o ? '0 : place_q + 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (in_valid_i && in_ready_o) word_q <= in_data_i;
    else if (take) word_q <= word_q >> Width;
  end

endmodule
