// A table of y for every code of x, Pe channels a cycle, each lane with a ROM of its own that holds the rows of all channels:
// in LUTs up to 64 words, else in block RAM. For a function that never turns, eq_pointwise takes no memory. The pixel stays in
// the source until its last cycle.
// Latency Channels/Pe + 2 cycles; exactly Channels/Pe cycles a pixel.
module eq_lookup #(
  /// Channels.
  parameter int unsigned Channels = 1,
  /// Tables: 1 for all channels, or one a channel.
  parameter int unsigned Rows = 1,
  /// Channels at a time: a divisor of Channels.
  parameter int unsigned Pe = 1,
  /// A beat carries Pe channels; else all of a pixel.
  parameter bit          Narrow = 1'b0,
  /// Bits of an input channel.
  parameter int unsigned InBits = 8,
  /// Bits of an output channel.
  parameter int unsigned OutBits = 8,
  /// The tables lie in block RAM also where they are few words.
  parameter bit          Block = 1'b0,
  /// Image of the tables: the code of y for every code of x, one row after the other.
  parameter File = "",
  /// Channels of a beat; derived, do not set.
  parameter int unsigned BeatChannels = Narrow ? Pe : Channels
) (
  /// Clock.
  input  logic                        clk_i,
  /// Synchronous reset, active low.
  input  logic                        rst_ni,
  /// Input stream.
  input  logic                        in_valid_i,
  /// Input stream; high in a pixel's last cycle.
  output logic                        in_ready_o,
  /// Input stream.
  input  logic [BeatChannels*InBits-1:0]  in_data_i,
  /// Output stream.
  output logic                        out_valid_o,
  /// Output stream.
  input  logic                        out_ready_i,
  /// Output stream.
  output logic [BeatChannels*OutBits-1:0] out_data_o
);

  localparam int unsigned Steps = Channels / Pe;
  localparam int unsigned StepBits = Steps > 1 ? $clog2(Steps) : 1;
  localparam int unsigned Words = Rows << InBits;
  localparam int unsigned Parts = BeatChannels / Pe;
  localparam int unsigned PartBits = Parts > 1 ? $clog2(Parts) : 1;
  // From a beat's credit to its return: its steps and three cycles.
  localparam int unsigned FifoDepth = 3 / Parts + 2;

  if (Channels % Pe != 0 || (Rows != 1 && Rows != Channels)) begin : gen_bad
    $fatal(1, "eq_lookup: Pe %0d and %0d tables do not fit %0d channels", Pe, Rows, Channels);
  end

  // Stage 1: the channels of this cycle.
  logic credit, step, first, last;
  logic [StepBits-1:0] index, at_q;
  logic [Pe*InBits-1:0] codes, codes_q;
  logic valid_q, valid2_q, unused_last;
  assign unused_last = last;
  eq_steps #(
    .Steps(Steps),
    .NarrowIn(Narrow),
    .NarrowOut(Narrow)
  ) u_steps (
    .clk_i,
    .rst_ni,
    .in_valid_i,
    .in_ready_o,
    .credit_i(credit),
    .step_o(step),
    .first_o(first),
    .last_o(last),
    .index_o(index)
  );
  eq_slice #(
    .Slices(Parts),
    .Width(Pe * InBits)
  ) u_slice (
    .data_i(in_data_i),
    .index_i(PartBits'(index)),
    .slice_o(codes)
  );
  always_ff @(posedge clk_i) begin
    codes_q <= codes;
    at_q <= index;
  end
  always_ff @(posedge clk_i) begin
    if (!rst_ni) {valid2_q, valid_q} <= '0;
    else {valid2_q, valid_q} <= {valid_q, step};
  end

  // Stage 2: the tables.
  logic [Pe*OutBits-1:0] y;
  for (genvar p = 0; p < Pe; p++) begin : gen_lane
    localparam int unsigned AddrBits = $clog2(Words);
    logic [AddrBits-1:0] address;
    if (Rows == 1) begin : gen_shared
      assign address = codes_q[p*InBits +: InBits];
    end else begin : gen_row
      localparam int unsigned RowBits = AddrBits - InBits;
      assign address = {RowBits'(at_q) * RowBits'(Pe) + RowBits'(p), codes_q[p*InBits +: InBits]};
    end
    eq_rom #(
      .Width(OutBits),
      .Depth(Words),
      .File(File),
      .Block(Block || Words > 64)
    ) u_table (
      .clk_i,
      .addr_i(address),
      .data_o(y[p*OutBits +: OutBits])
    );
  end
  if (Rows == 1) begin : gen_unused
    logic unused;
    assign unused = ^at_q;
  end

  // Stage 3: the channels of a pixel come together.
  logic push;
  logic [BeatChannels*OutBits-1:0] beat;
  eq_collect #(
    .Parts(Parts),
    .Width(Pe * OutBits)
  ) u_collect (
    .clk_i,
    .rst_ni,
    .valid_i(valid2_q),
    .data_i(y),
    .valid_o(push),
    .data_o(beat)
  );

  eq_outfifo #(
    .Width(BeatChannels * OutBits),
    .Depth(FifoDepth)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(credit),
    .take_i(Narrow ? step : first),
    .push_i(push),
    .data_i(beat),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
