// Parts that come one after the other, put together: the whole is there in the cycle of its last part. It stores no whole:
// the reader takes it at once.
// Latency 0; one part a cycle.
module eq_collect #(
  /// Parts of a whole.
  parameter int unsigned Parts = 2,
  /// Bits of a part.
  parameter int unsigned Width = 8
) (
  /// Clock.
  input  logic                   clk_i,
  /// Synchronous reset, active low.
  input  logic                   rst_ni,
  /// A part is there.
  input  logic                   valid_i,
  /// The part, the lowest of the whole first.
  input  logic [Width-1:0]       data_i,
  /// With this part, the whole is there.
  output logic                   valid_o,
  /// The whole.
  output logic [Parts*Width-1:0] data_o
);

  if (Parts == 1) begin : gen_at_once
    logic unused;
    assign unused = ^{clk_i, rst_ni};
    assign data_o = data_i;
    assign valid_o = valid_i;
  end else begin : gen_collect
    localparam int unsigned CountBits = $clog2(Parts);
    logic [(Parts-1)*Width-1:0] collected_q;
    logic [CountBits-1:0] count_q;
    assign data_o = {data_i, collected_q};
    assign valid_o = valid_i && count_q == CountBits'(Parts - 1);
    always_ff @(posedge clk_i) begin
      if (!rst_ni) count_q <= '0;
      else if (valid_i) count_q <= valid_o ? '0 : count_q + 1'b1;
    end
    always_ff @(posedge clk_i) if (valid_i) collected_q <= data_o[Parts*Width-1:Width];
  end

endmodule
