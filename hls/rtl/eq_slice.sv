// One slice of the channels of a pixel: neighbouring channels of each group. Combinational.
module eq_slice #(
  /// Groups of channels.
  parameter int unsigned Groups = 1,
  /// Slices of a group.
  parameter int unsigned Slices = 2,
  /// Bits of a slice of one group.
  parameter int unsigned Width = 8,
  /// Bits of an index; derived, do not set.
  parameter int unsigned IndexBits = Slices > 1 ? $clog2(Slices) : 1
) (
  /// Pixel: the slices of the first group, then those of the next.
  input  logic [Groups*Slices*Width-1:0] data_i,
  /// Which slice.
  input  logic [IndexBits-1:0]           index_i,
  /// That slice of every group.
  output logic [Groups*Width-1:0]        slice_o
);

  // Each slice begins at a multiple of a power of two: Yosys makes a multiplexer of that, and a shifter of any other.
  localparam int unsigned Pitch = 1 << $clog2(Width);

  if (Slices == 1) begin : gen_whole
    logic unused;
    assign unused = ^index_i;
    assign slice_o = data_i;
  end else begin : gen_selected
    for (genvar g = 0; g < Groups; g++) begin : gen_group
      logic [Slices*Pitch-1:0] padded;
      for (genvar s = 0; s < Slices; s++) begin : gen_pad
        assign padded[s*Pitch +: Pitch] = Pitch'(data_i[(g*Slices + s)*Width +: Width]);
      end
      assign slice_o[g*Width +: Width] = padded[index_i*Pitch +: Width];
    end
  end

endmodule
