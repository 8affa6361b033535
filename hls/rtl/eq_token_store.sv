// All tokens of a frame, to be read over and over in the order in which they came, slice by slice, while the next frame is
// stored; or, where there is room for one frame, before the next is. One eq_ram. It is not for data that is read once (eq_fifo).
// A frame can be read a cycle after its last slice was stored. One slice stored and one read a cycle.
module eq_token_store #(
  /// Groups of channels, each of which is sliced.
  parameter int unsigned Groups = 1,
  /// Slices of a token: cycles in which it is stored, and read.
  parameter int unsigned Slices = 1,
  /// Bits of a slice of one group.
  parameter int unsigned Width = 8,
  /// Tokens of a frame.
  parameter int unsigned Tokens = 4,
  /// Frames that there is room for, 1 or 2.
  parameter int unsigned Frames = 2,
  /// A beat carries a slice; else a token.
  parameter bit          Narrow = 1'b0,
  /// Bits of the number of a slice; derived, do not set.
  parameter int unsigned IndexBits = Slices > 1 ? $clog2(Slices) : 1,
  /// Slices of a beat; derived, do not set.
  parameter int unsigned BeatSlices = Narrow ? 1 : Slices
) (
  /// Clock.
  input  logic                           clk_i,
  /// Synchronous reset, active low.
  input  logic                           rst_ni,
  /// Input stream.
  input  logic                           in_valid_i,
  /// Input stream; high in the last cycle of a beat.
  output logic                           in_ready_o,
  /// Input stream: a token, or a slice of one.
  input  logic [Groups*BeatSlices*Width-1:0] in_data_i,
  /// A frame is there to be read.
  output logic                           there_o,
  /// Read the slice whose place is given below; only while `there_o`.
  input  logic                           read_i,
  /// With the last slice of the frame: that was the last time. Else it is read once more, from its first slice.
  input  logic                           release_i,
  /// Place of the next slice: its number in the token.
  output logic [IndexBits-1:0]           slice_o,
  /// Place of the next slice: the first of its token.
  output logic                           first_slice_o,
  /// Place of the next slice: the last of its token.
  output logic                           last_slice_o,
  /// Place of the next slice: in the first token.
  output logic                           first_token_o,
  /// Place of the next slice: in the last token.
  output logic                           last_token_o,
  /// The slice read in the cycle before, of every group.
  output logic [Groups*Width-1:0]        data_o
);

  localparam int unsigned Words = Tokens * Slices;
  // A memory has two words or more.
  localparam int unsigned Depth = Frames * Words > 2 ? Frames * Words : 2;
  localparam int unsigned AddrBits = $clog2(Depth);
  localparam int unsigned BeatBits = BeatSlices > 1 ? $clog2(BeatSlices) : 1;
  localparam int unsigned TokenBits = Tokens > 1 ? $clog2(Tokens) : 1;

  if (Groups < 1 || Slices < 1 || Tokens < 1 || Frames < 1 || Frames > 2) begin : gen_bad
    $fatal(1, "eq_token_store: %0d tokens of %0d x %0d slices", Tokens, Groups, Slices);
  end

  // Frames stored whole, and what is done with them this cycle.
  logic [1:0] frames_q;
  logic write, stored, released;
  assign there_o = frames_q != '0;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) frames_q <= '0;
    else frames_q <= frames_q + 2'(stored) - 2'(released);
  end

  // Writing.
  logic [AddrBits-1:0] waddr_q;
  logic [IndexBits-1:0] wslice_q;
  logic [TokenBits-1:0] wtoken_q;
  logic wlast_slice, wlast_token;
  logic [Groups*Width-1:0] word;
  assign wlast_slice = wslice_q == IndexBits'(Slices - 1);
  assign wlast_token = wtoken_q == TokenBits'(Tokens - 1);
  assign write = in_valid_i && frames_q != 2'(Frames);
  assign in_ready_o = (Narrow || wlast_slice) && frames_q != 2'(Frames);
  assign stored = write && wlast_slice && wlast_token;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      waddr_q <= '0;
      wslice_q <= '0;
      wtoken_q <= '0;
    end else if (write) begin
      waddr_q <= waddr_q == AddrBits'(Frames * Words - 1) ? '0 : waddr_q + 1'b1;
      wslice_q <= wlast_slice ? '0 : wslice_q + 1'b1;
      if (wlast_slice) wtoken_q <= wlast_token ? '0 : wtoken_q + 1'b1;
    end
  end
  eq_slice #(
    .Groups(Groups),
    .Slices(BeatSlices),
    .Width(Width)
  ) u_slice (
    .data_i(in_data_i),
    .index_i(BeatBits'(wslice_q)),
    .slice_o(word)
  );

  // Reading.
  logic upper_q;
  logic [AddrBits-1:0] raddr_q;
  logic [IndexBits-1:0] rslice_q;
  logic [TokenBits-1:0] rtoken_q;
  assign slice_o = rslice_q;
  assign first_slice_o = rslice_q == '0;
  assign last_slice_o = rslice_q == IndexBits'(Slices - 1);
  assign first_token_o = rtoken_q == '0;
  assign last_token_o = rtoken_q == TokenBits'(Tokens - 1);
  assign released = read_i && release_i;
  always_ff @(posedge clk_i) begin
    if (!rst_ni) begin
      upper_q <= 1'b0;
      raddr_q <= '0;
      rslice_q <= '0;
      rtoken_q <= '0;
    end else if (read_i) begin
      rslice_q <= last_slice_o ? '0 : rslice_q + 1'b1;
      if (last_slice_o) rtoken_q <= last_token_o ? '0 : rtoken_q + 1'b1;
      raddr_q <= raddr_q + 1'b1;
      if (last_slice_o && last_token_o) begin
        upper_q <= Frames == 2 && (upper_q ^ release_i);
        raddr_q <= Frames == 2 && (upper_q ^ release_i) ? AddrBits'(Words) : '0;
      end
    end
  end

  eq_ram #(
    .Width(Groups * Width),
    .Depth(Depth),
    .LutDepth(Groups * Width * Depth <= 9216 ? 512 : 64)
  ) u_ram (
    .clk_i,
    .write_i(write),
    .waddr_i(waddr_q),
    .wdata_i(word),
    .read_i,
    .raddr_i(raddr_q),
    .rdata_o(data_o)
  );

`ifndef SYNTHESIS
  always_ff @(posedge clk_i) begin
    if (rst_ni && read_i) begin
      assert (there_o) else $error("eq_token_store: a frame was read that is not there");
      assert (!release_i || (last_slice_o && last_token_o)) else $error("eq_token_store: a frame was released before its end");
    end
  end
`endif

endmodule
