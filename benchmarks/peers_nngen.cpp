// Runs the verilated test bench of peers_nngen.py until it finishes; its messages are the result.
#include <cstdio>

#include "Vtest.h"
#include "verilated.h"

namespace {
constexpr uint64_t kResetCycles = 16;
constexpr uint64_t kMostCycles = 1ull << 30;
} // namespace

int main() {
    VerilatedContext context;
    Vtest top(&context);
    for (uint64_t cycle = 0; !context.gotFinish(); cycle++) {
        if (cycle == kMostCycles) {
            std::fprintf(stderr, "the test bench does not end\n");
            return 1;
        }
        top.io_RESETN = cycle >= kResetCycles;
        top.io_CLK = 0;
        top.eval();
        context.timeInc(1);
        top.io_CLK = 1;
        top.eval();
        context.timeInc(1);
    }
    top.final();
    return 0;
}
