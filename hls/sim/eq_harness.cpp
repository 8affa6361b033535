// Runs any verilated `eq_top` with one input and one output stream of any width.
//
//   eq_sim IN OUT FRAMES IN_BEATS OUT_BEATS [seed=N] [pauses=FILE] [trace=FILE] [cycles=FILE] [silence=CYCLES]
//
// IN holds the beats of all frames, OUT gets them, each beat padded to whole little-endian 32-bit words. seed: both sides pause at
// random. pauses: a byte a cycle, used over and over: bit 0 pauses the input, bit 1 the output; a word that was offered stays.
// trace: a VCD file, or FST where Verilator was told so. cycles: gets the cycle of each input beat, then of each output beat, 64
// bits each. silence: cycles without a beat on either side after which the design counts as stopped. Prints one JSON object:
// the cycle of the first output, the cycles between the last beats of the last two frames, the seconds of the simulation.
// Exit code 2: the design broke the stream protocol or stopped.

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <vector>

#include "Veq_top.h"
#include "verilated.h"
#ifdef EQ_TRACE_FST
#include "verilated_fst_c.h"
using Trace = VerilatedFstC;
#elif defined(EQ_TRACE_VCD)
#include "verilated_vcd_c.h"
using Trace = VerilatedVcdC;
#endif

namespace {

constexpr uint64_t kResetCycles = 16;
// One patch of a layer built one term at a time may take millions of cycles.
constexpr uint64_t kSilence = 8u << 20;
// Chances, out of 256, that a side pauses in a cycle. A phase of 32 cycles on average draws its own, so that long pauses occur
// too; in the first phase both sides pause, so that the shortest run has some.
constexpr unsigned kPauses[] = {0, 32, 128, 224};

// A port as 32-bit words, whatever C++ type Verilator gave it.
template <typename T> std::size_t words_of(const T &) { return sizeof(T) <= 4 ? 1 : sizeof(T) / 4; }
template <typename T> void put(T &port, const uint32_t *words) { std::memcpy(&port, words, sizeof(T)); }
template <typename T> void get(const T &port, uint32_t *words) {
    words[0] = 0;
    std::memcpy(words, &port, sizeof(T));
}

std::vector<uint32_t> read_words(const char *path, std::size_t count) {
    std::vector<uint32_t> words(count);
    std::FILE *file = std::fopen(path, "rb");
    if (file == nullptr || std::fread(words.data(), 4, count, file) != count) {
        std::fprintf(stderr, "cannot read %zu words from %s\n", count, path);
        std::exit(1);
    }
    std::fclose(file);
    return words;
}

// The value of the option `name=value`, or null.
const char *option(int argc, char **argv, const char *name) {
    const std::size_t length = std::strlen(name);
    for (int i = 6; i < argc; i++)
        if (std::strncmp(argv[i], name, length) == 0 && argv[i][length] == '=') return argv[i] + length + 1;
    return nullptr;
}

std::vector<unsigned char> read_bytes(const char *path) {
    std::vector<unsigned char> bytes;
    std::FILE *file = std::fopen(path, "rb");
    for (int c; file != nullptr && (c = std::fgetc(file)) != EOF;) bytes.push_back((unsigned char)c);
    if (bytes.empty()) {
        std::fprintf(stderr, "cannot read %s\n", path);
        std::exit(1);
    }
    std::fclose(file);
    return bytes;
}

[[noreturn]] void stop(const char *message, uint64_t cycle, uint64_t in, uint64_t out) {
    std::fprintf(stderr, "%s in cycle %llu, after %llu input and %llu output beats\n", message, (unsigned long long)cycle,
                 (unsigned long long)in, (unsigned long long)out);
    std::exit(2);
}

} // namespace

int main(int argc, char **argv) {
    if (argc < 6) {
        std::fprintf(stderr, "usage: eq_sim IN OUT FRAMES IN_BEATS OUT_BEATS [NAME=VALUE ...]\n");
        return 1;
    }
    const uint64_t frames = std::strtoull(argv[3], nullptr, 10);
    const uint64_t in_beats = frames * std::strtoull(argv[4], nullptr, 10);
    const uint64_t frame_out_beats = std::strtoull(argv[5], nullptr, 10);
    const uint64_t out_beats = frames * frame_out_beats;
    const char *seed_text = option(argc, argv, "seed"), *pauses_path = option(argc, argv, "pauses");
    const char *cycles_path = option(argc, argv, "cycles"), *silence_text = option(argc, argv, "silence");
    const bool random_stalls = seed_text != nullptr, stalls = random_stalls || pauses_path != nullptr;
    const uint64_t seed = random_stalls ? std::strtoull(seed_text, nullptr, 10) : 0;
    const uint64_t longest_silence = silence_text != nullptr ? std::strtoull(silence_text, nullptr, 10) : kSilence;
    std::mt19937_64 random(seed);
    const std::vector<unsigned char> pauses = pauses_path != nullptr ? read_bytes(pauses_path) : std::vector<unsigned char>{0};
    std::vector<uint64_t> in_cycles, out_cycles;

    VerilatedContext context;
    context.randReset(2); // registers without a reset start at random
    context.randSeed((int)(seed % 0x7ffffffe) + 1);
    Veq_top top{&context};
    const std::size_t in_words = words_of(top.in_data_i), out_words = words_of(top.out_data_o);
    const std::vector<uint32_t> input = read_words(argv[1], in_beats * in_words);
    std::vector<uint32_t> output(out_beats * out_words), held(out_words), seen(out_words);

#if defined(EQ_TRACE_FST) || defined(EQ_TRACE_VCD)
    context.traceEverOn(true);
    Trace trace;
    const char *trace_path = option(argc, argv, "trace");
    if (trace_path != nullptr) {
        top.trace(&trace, 99);
        trace.open(trace_path);
    }
#define EQ_DUMP()                                                                                                                  \
    if (trace_path != nullptr) trace.dump(context.time())
#else
#define EQ_DUMP()
#endif

    uint64_t in = 0, out = 0, silence = 0, cycle = 0;
    uint64_t first_output = 0, last_frame = 0, frame_before = 0;
    unsigned in_pause = 0, out_pause = 0;
    bool offered = false, holding = false;
    top.clk_i = 0;
    top.rst_ni = 0;
    top.in_valid_i = 0;
    top.out_ready_i = 0;
    const auto begin = std::chrono::steady_clock::now();
    for (uint64_t reset = kResetCycles; out < out_beats;) {
        // Inputs change while the clock is low; outputs are read before it rises.
        top.rst_ni = reset == 0;
        if (reset == 0) {
            uint64_t dice = 0;
            const unsigned char pause = pauses[cycle % pauses.size()];
            if (random_stalls) {
                dice = random();
                if (cycle == 0 || (dice >> 16 & 0x1f) == 0) {
                    in_pause = kPauses[cycle == 0 ? 1 + (dice >> 24) % 3 : dice >> 24 & 3];
                    out_pause = kPauses[cycle == 0 ? 1 + (dice >> 32) % 3 : dice >> 32 & 3];
                }
            }
            // A valid word is not withdrawn.
            offered = in < in_beats && (offered || ((dice & 0xff) >= in_pause && (pause & 1) == 0));
            top.in_valid_i = offered;
            if (offered) put(top.in_data_i, &input[in * in_words]);
            top.out_ready_i = (dice >> 8 & 0xff) >= out_pause && (pause & 2) == 0;
        }
        top.eval();
        const bool in_beat = reset == 0 && top.in_valid_i && top.in_ready_o;
        const bool out_beat = reset == 0 && top.out_valid_o && top.out_ready_i;
        if (reset == 0 && stalls) {
            get(top.out_data_o, seen.data());
            if (holding && (!top.out_valid_o || seen != held)) stop("the output changed before it was taken", cycle, in, out);
            holding = top.out_valid_o && !out_beat;
            held = seen;
        }
        if (out_beat) {
            get(top.out_data_o, &output[out * out_words]);
            if (out == 0) first_output = cycle;
            if (cycles_path != nullptr) out_cycles.push_back(cycle);
            if (++out % frame_out_beats == 0) {
                frame_before = last_frame;
                last_frame = cycle;
            }
        }
        EQ_DUMP();
        context.timeInc(1);
        top.clk_i = 1;
        top.eval();
        EQ_DUMP();
        context.timeInc(1);
        top.clk_i = 0;
        if (context.gotFinish()) stop("the design called $finish", cycle, in, out);
        if (in_beat) {
            if (cycles_path != nullptr) in_cycles.push_back(cycle);
            in++;
            offered = false;
        }
        silence = in_beat || out_beat ? 0 : silence + 1;
        if (silence > longest_silence) stop("deadlock: no beat for long, the last", cycle, in, out);
        if (reset > 0) {
            reset--;
        } else {
            cycle++;
        }
    }
    const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
    top.final();
#if defined(EQ_TRACE_FST) || defined(EQ_TRACE_VCD)
    if (trace_path != nullptr) trace.close();
#endif

    const auto write = [](const char *path, const auto &... parts) {
        std::FILE *file = std::fopen(path, "wb");
        const auto put_all = [file](const auto &part) {
            return std::fwrite(part.data(), sizeof(part[0]), part.size(), file) == part.size();
        };
        if (file != nullptr && (put_all(parts) && ...) && std::fclose(file) == 0) return;
        std::fprintf(stderr, "cannot write %s\n", path);
        std::exit(1);
    };
    in_cycles.resize(cycles_path != nullptr ? in_beats : 0, UINT64_MAX); // beats that the outputs did not need
    write(argv[2], output);
    if (cycles_path != nullptr) write(cycles_path, in_cycles, out_cycles);
    std::printf("{\"latency_cycles\": %llu, \"cycles_per_frame\": %llu, \"seconds\": %.9f}\n", (unsigned long long)first_output,
                (unsigned long long)(frames > 1 ? last_frame - frame_before : last_frame + 1), seconds.count());
    return 0;
}
