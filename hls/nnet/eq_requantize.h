#ifndef NNET_EQ_REQUANTIZE_H_
#define NNET_EQ_REQUANTIZE_H_

#include "eq_common.h"

namespace nnet {

// y = clip(round((x * multiplier[c] + offset[c]) / 2^shift), lo, hi), rounded half to even or down.
//
// multiplier (as eq_times), offset: [rows], rows is 1 or the number of channels, lanes of them are read in one cycle. wide_t holds
// x * multiplier + offset + 2^(shift-1), lo and hi.
template <typename CONFIG_T> struct eq_requantize_element {
    template <class res_T, class value_T, class multiplier_T, class offset_T>
    static res_T apply(const value_T &value, int channel, const multiplier_T &multiplier, const offset_T &offset) {
        #pragma HLS INLINE
        #pragma HLS ARRAY_RESHAPE variable=multiplier cyclic factor=CONFIG_T::lanes
        #pragma HLS ARRAY_RESHAPE variable=offset cyclic factor=CONFIG_T::lanes
        typedef typename CONFIG_T::wide_t wide_t;
        const int row = eq_row(CONFIG_T::rows, channel);
        wide_t product = eq_times<CONFIG_T::digits, CONFIG_T::shift_bits>::template apply<wide_t>(value, multiplier[row]);
        product += offset[row];
        wide_t rounded = product;
        if (CONFIG_T::shift > 0) {
            const wide_t unit = wide_t(1) << CONFIG_T::shift;
            const wide_t half = CONFIG_T::half_even ? wide_t(unit >> 1) : wide_t(0);
            const wide_t lifted = product + half;
            rounded = lifted >> CONFIG_T::shift;
            const bool tie = (lifted & wide_t(unit - 1)) == 0;
            if (CONFIG_T::half_even && tie && rounded[0] == 1) {
                rounded -= 1;
            }
        }
        const wide_t lo = CONFIG_T::lo, hi = CONFIG_T::hi;
        return res_T(rounded < lo ? lo : rounded > hi ? hi : rounded);
    }
};

template <class data_T, class res_T, typename CONFIG_T, class multiplier_T, class offset_T>
void eq_requantize(hls::stream<data_T> &data, hls::stream<res_T> &res, const multiplier_T &multiplier,
                   const offset_T &offset) {
    eq_map<eq_requantize_element<CONFIG_T>, data_T, res_T, CONFIG_T>(data, res, multiplier, offset);
}

} // namespace nnet

#endif
