// Runs a verilated `eq_board` behind a serial port: a bit-exact UART on its two lines, whose bytes come from and go to pipes.
//
//   eq_sim BIT_CYCLES
//
// In, any number of: 's' n (32 bits, lowest byte first) and n bytes: they go over the line one after the other; 'b': a break of
// 20 bits; 'r' n: answered once there are bytes from the board or the line has been silent for n bits; 'f': the next byte goes
// out with its stop bit low; 'q': end. The answer to 'r' is the number of bytes (32 bits) and the bytes, that to 's' and 'b'
// nothing. Time passes in 's', 'b' and 'r' only.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "Veq_board.h"
#include "verilated.h"

namespace {

struct Board {
    VerilatedContext context;
    Veq_board top{&context};
    unsigned bit_cycles;
    std::vector<uint8_t> received;
    // The receiver: cycles to the next sample (0: waits for a start bit), bits so far, their value.
    unsigned wait = 0, bits = 0, value = 0;

    explicit Board(unsigned cycles) : bit_cycles(cycles) { top.rx_i = 1; }

    void cycle() {
        top.clk_i = 0;
        top.eval();
        top.clk_i = 1;
        top.eval();
        if (wait == 0) {
            if (!top.tx_o) {
                wait = bit_cycles + bit_cycles / 2;
                bits = value = 0;
            }
        } else if (--wait == 0) {
            if (bits == 8) {
                if (!top.tx_o) {
                    std::fprintf(stderr, "the board sent a byte without its stop bit\n");
                    std::exit(2);
                }
                received.push_back((uint8_t)value);
            } else {
                value |= (unsigned)top.tx_o << bits++;
                wait = bit_cycles;
            }
        }
    }
    void line(bool level, unsigned count) {
        top.rx_i = level;
        for (uint64_t i = 0; i < (uint64_t)count * bit_cycles; i++) cycle();
    }
    void send(uint8_t byte, bool stop) {
        line(false, 1);
        for (int i = 0; i < 8; i++) line(byte >> i & 1, 1);
        line(stop, 1);
        if (!stop) line(true, 1);
    }
};

uint8_t next() {
    int c = std::getchar();
    if (c == EOF) std::exit(0);
    return (uint8_t)c;
}

uint32_t number() {
    uint32_t n = 0;
    for (int i = 0; i < 4; i++) n |= (uint32_t)next() << (8 * i);
    return n;
}

} // namespace

int main(int argc, char **argv) {
    if (argc != 2) return 1;
    Board board((unsigned)std::atoi(argv[1]));
    board.context.randReset(2); // registers without a reset start at random
    board.top.rx_i = 1;
    board.line(true, 40);
    bool stop = true;
    for (;;) {
        switch (next()) {
        case 's':
            for (uint32_t n = number(); n > 0; n--) {
                board.send(next(), stop);
                stop = true;
            }
            break;
        case 'b':
            board.line(false, 20);
            board.line(true, 2);
            break;
        case 'f':
            stop = false;
            break;
        case 'r': {
            uint32_t silence = number();
            for (uint32_t i = 0; i < silence && (board.received.empty() || board.wait != 0); i++) board.line(true, 1);
            uint32_t n = (uint32_t)board.received.size();
            for (int i = 0; i < 4; i++) std::putchar(n >> (8 * i) & 255);
            std::fwrite(board.received.data(), 1, n, stdout);
            std::fflush(stdout);
            board.received.clear();
            break;
        }
        default:
            return 0;
        }
    }
}
