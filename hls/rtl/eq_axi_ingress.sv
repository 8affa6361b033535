// Lets whole frames through and nothing else. A packet is `frames_i` frames, each of FrameWords full words, and ends with the
// last word of its last frame. A frame is stored until its last word has come, so one that is cut or too long never gets out;
// what is left of its packet, up to `in_last_i`, is dropped too. Where frames of that packet have gone out before, the packet
// cannot be made whole any more: `halted_o`, and everything is dropped until the reset.
// Latency 4 cycles from the last word of a frame; one word a cycle.
module eq_axi_ingress #(
  /// Bits of a word.
  parameter int unsigned Width = 64,
  /// Words of a frame.
  parameter int unsigned FrameWords = 1
) (
  /// Clock.
  input  logic             clk_i,
  /// Synchronous reset, active low; a packet begins after it.
  input  logic             rst_ni,
  /// Frames of a packet; read with each word of its first frame. 0 is taken as 1.
  input  logic [31:0]      frames_i,
  /// Input stream.
  input  logic             in_valid_i,
  /// Input stream.
  output logic             in_ready_o,
  /// Input stream.
  input  logic [Width-1:0] in_data_i,
  /// Input stream: every byte of the word is there.
  input  logic             in_full_i,
  /// Input stream: the word ends the packet.
  input  logic             in_last_i,
  /// Output stream.
  output logic             out_valid_o,
  /// Output stream.
  input  logic             out_ready_i,
  /// Output stream.
  output logic [Width-1:0] out_data_o,
  /// A part of a frame has come.
  output logic             partial_o,
  /// A whole frame has come; one cycle.
  output logic             whole_o,
  /// A frame was dropped: its packet ended early, or a word was not full; one cycle.
  output logic             short_o,
  /// A frame was dropped: its packet did not end with it; one cycle.
  output logic             long_o,
  /// A packet broke off after some of its frames had gone out.
  output logic             halted_o
);

  // A word more than a frame lets one frame follow the other without a pause of a cycle. In long frames that pause is nothing,
  // and a power of two of words fits block RAM.
  localparam int unsigned Depth = FrameWords < 64 ? FrameWords + 1 : FrameWords;
  localparam int unsigned AddrBits = $clog2(Depth);
  localparam int unsigned CountBits = $clog2(Depth + 1);

  // used_q: words stored; whole_q: those of whole frames; place_q: those of the frame that is coming.
  logic [CountBits-1:0] used_q, whole_q, place_q;
  logic [AddrBits-1:0] head_q, tail_q, start_q, next;
  logic [31:0] left, left_q;
  logic first_q, skip_q, halted_q;
  logic take, store, ends_frame, ends_packet, bad, read, read_q, credit;
  logic [Width-1:0] word;

  assign in_ready_o = used_q != CountBits'(Depth) || skip_q || halted_q;
  assign take = in_valid_i && in_ready_o && !skip_q && !halted_q;
  assign left = !first_q ? left_q : frames_i == '0 ? 32'd1 : frames_i;
  assign ends_frame = place_q == CountBits'(FrameWords - 1);
  assign ends_packet = ends_frame && left == 32'd1;
  assign short_o = take && (!in_full_i || (in_last_i && !ends_packet));
  assign long_o = take && in_full_i && !in_last_i && ends_packet;
  assign bad = short_o || long_o;
  assign store = take && !bad;
  assign whole_o = store && ends_frame;
  assign partial_o = take || place_q != '0;
  assign halted_o = halted_q;
  assign next = tail_q == AddrBits'(Depth - 1) ? '0 : tail_q + 1'b1;
  assign read = whole_q != '0 && credit;

  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      used_q <= '0;
      whole_q <= '0;
      place_q <= '0;
      head_q <= '0;
      tail_q <= '0;
      start_q <= '0;
      left_q <= '0;
      first_q <= 1'b1;
      skip_q <= 1'b0;
      halted_q <= 1'b0;
      read_q <= 1'b0;
    end else begin
      used_q <= (bad ? used_q - place_q : used_q + CountBits'(store)) - CountBits'(read);
      whole_q <= whole_q + (whole_o ? CountBits'(FrameWords) : '0) - CountBits'(read);
      if (take) begin
        place_q <= bad || ends_frame ? '0 : place_q + 1'b1;
        tail_q <= bad ? start_q : next;
        skip_q <= bad && !in_last_i;
        halted_q <= bad && !first_q;
        if (whole_o) begin
          start_q <= next;
          left_q <= left - 1'b1;
          first_q <= in_last_i;
        end else if (bad) begin
          first_q <= 1'b1;
        end
      end else if (skip_q && in_valid_i && in_last_i) begin
        skip_q <= 1'b0;
      end
      if (read) head_q <= head_q == AddrBits'(Depth - 1) ? '0 : head_q + 1'b1;
      read_q <= read;
    end
  end

  eq_ram #(
    .Width(Width),
    .Depth(Depth)
  ) u_ram (
    .clk_i,
    .write_i(store),
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

endmodule
