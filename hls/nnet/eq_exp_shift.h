#ifndef NNET_EQ_EXP_SHIFT_H_
#define NNET_EQ_EXP_SHIFT_H_

#include "eq_common.h"

namespace nnet {

typedef ap_uint<31> eq_exp_t; // an exponential, or the sum of a row of them

// ExpShift, I-ViT's integer exponential of -distance * slope in units of 2^-point: 2^point to 2^(point+shift).
//
// far: from this distance on, all are the same. slope: at most shift * 2^point, more changes nothing.
template <typename CONFIG_T, class distance_T> eq_exp_t eq_exp_shift(const distance_T &distance) {
    #pragma HLS INLINE
    const ap_uint<31> cutoff = ap_uint<31>(CONFIG_T::shift) << CONFIG_T::point;
    const ap_uint<31> near = distance > CONFIG_T::far ? ap_uint<31>(CONFIG_T::far) : ap_uint<31>(distance);
    const ap_uint<31> scaled = near * ap_uint<31>(CONFIG_T::slope);
    // times log2(e), about 1 + 1/2 - 1/16; of the negative number, a shift right rounds up
    const ap_uint<32> stretched = scaled + (ap_uint<32>(scaled + 1) >> 1) - (ap_uint<32>(scaled + 15) >> 4);
    const ap_uint<31> cut = stretched > cutoff ? cutoff : ap_uint<31>(stretched);
    const ap_uint<31> whole = cut >> CONFIG_T::point;
    const ap_uint<32> line = (ap_uint<32>(2) << CONFIG_T::point) - (cut - (whole << CONFIG_T::point));
    return (ap_uint<32>(line << CONFIG_T::shift) >> int(whole)) >> 1;
}

} // namespace nnet

#endif
