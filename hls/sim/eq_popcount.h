// Counts of ones in verilated code by the CPU's own instruction: Verilator's functions are shifts and masks, which take most of
// the time of a binary network. Included before each generated unit; the runtime keeps its own.

#ifndef EQ_POPCOUNT_H_
#define EQ_POPCOUNT_H_

#include "verilated.h"

static inline IData eq_countones_w(int words, const EData *from) {
    IData ones = 0;
    for (int i = 0; i < words; ++i) ones += static_cast<IData>(__builtin_popcount(from[i]));
    return ones;
}
#define VL_COUNTONES_I(word) static_cast<IData>(__builtin_popcount(word))
#define VL_COUNTONES_Q(word) static_cast<IData>(__builtin_popcountll(word))
#define VL_COUNTONES_W eq_countones_w

#endif // EQ_POPCOUNT_H_
