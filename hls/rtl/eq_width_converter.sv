// The same values in beats of another width, lowest bits first: parts of a beat one after the other, or several beats together.
// Latency 1 cycle from the last beat that an output beat needs; the narrower side passes a beat a cycle.
module eq_width_converter #(
  /// Bits of an input beat; of this and the next, one divides the other.
  parameter int unsigned InBits = 16,
  /// Bits of an output beat.
  parameter int unsigned OutBits = 8
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
  input  logic [InBits-1:0]  in_data_i,
  /// Output stream.
  output logic               out_valid_o,
  /// Output stream.
  input  logic               out_ready_i,
  /// Output stream.
  output logic [OutBits-1:0] out_data_o
);

  localparam bit Widens = OutBits > InBits;
  localparam int unsigned Parts = Widens ? OutBits / InBits : InBits / OutBits;
  localparam int unsigned StepBits = Parts > 1 ? $clog2(Parts) : 1;
  localparam int unsigned Slices = Widens ? 1 : Parts;
  localparam int unsigned SliceBits = Slices > 1 ? $clog2(Slices) : 1;
  localparam int unsigned PartBits = Widens ? InBits : OutBits;

  if (InBits % PartBits != 0 || OutBits % PartBits != 0) begin : gen_bad
    $fatal(1, "eq_width_converter: neither of %0d and %0d bits divides the other", InBits, OutBits);
  end

  logic credit, step, first, last, push, unused;
  logic [StepBits-1:0] index;
  logic [PartBits-1:0] part;
  logic [OutBits-1:0] beat;
  assign unused = ^{last, index};
  eq_steps #(
    .Steps(Parts),
    .NarrowIn(Widens),
    .NarrowOut(!Widens)
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
    .Slices(Slices),
    .Width(PartBits)
  ) u_slice (
    .data_i(in_data_i),
    .index_i(SliceBits'(index)),
    .slice_o(part)
  );
  eq_collect #(
    .Parts(Widens ? Parts : 1),
    .Width(PartBits)
  ) u_collect (
    .clk_i,
    .rst_ni,
    .valid_i(step),
    .data_i(part),
    .valid_o(push),
    .data_o(beat)
  );
  eq_outfifo #(
    .Width(OutBits),
    .Depth(2)
  ) u_out (
    .clk_i,
    .rst_ni,
    .credit_o(credit),
    .take_i(Widens ? first : step),
    .push_i(push),
    .data_i(beat),
    .out_valid_o,
    .out_ready_i,
    .out_data_o
  );

endmodule
