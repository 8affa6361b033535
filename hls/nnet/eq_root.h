#ifndef NNET_EQ_ROOT_H_
#define NNET_EQ_ROOT_H_

#include "eq_common.h"

namespace nnet {

// floor(sqrt(x)), 0 <= x < 4^digits: a digit a step, by a comparison and a subtraction.
template <int digits, class x_T> ap_uint<digits> eq_root(const x_T &x) {
    #pragma HLS INLINE
    ap_uint<2 * digits> left = x; // highest digit of base 4 first
    ap_uint<digits + 2> rest = 0; // x so far minus the square of the root so far
    ap_uint<digits> root = 0;
Digits:
    for (int digit = 0; digit < digits; digit++) {
        rest = (rest << 2) | (left >> (2 * digits - 2));
        left <<= 2;
        const ap_uint<digits + 2> trial = (ap_uint<digits + 2>(root) << 2) | 1;
        const bool one = rest >= trial;
        if (one) {
            rest -= trial;
        }
        root = (root << 1) | ap_uint<1>(one);
    }
    return root;
}

} // namespace nnet

#endif
