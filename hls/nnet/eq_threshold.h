#ifndef NNET_EQ_THRESHOLD_H_
#define NNET_EQ_THRESHOLD_H_

#include "eq_common.h"

namespace nnet {

// y = base + step * #{k: x >= t[c][k]}, and base + step * (levels - that count) where negative[c].
//
// t: [rows * levels]; negative: [rows]; rows is 1 or the number of channels, lanes of them are read in one cycle.
template <typename CONFIG_T> struct eq_threshold_element {
    template <class res_T, class value_T, class threshold_T, class negative_T>
    static res_T apply(const value_T &value, int channel, const threshold_T &thresholds, const negative_T &negative) {
        #pragma HLS INLINE
        #pragma HLS ARRAY_RESHAPE variable=thresholds cyclic factor=CONFIG_T::threshold_lanes
        #pragma HLS ARRAY_RESHAPE variable=negative cyclic factor=CONFIG_T::lanes
        const int row = eq_row(CONFIG_T::rows, channel);
        ap_uint<8> count = 0; // levels is at most 255
    Levels:
        for (int k = 0; k < CONFIG_T::levels; k++) {
            #pragma HLS UNROLL
            count += (value >= thresholds[row * CONFIG_T::levels + k]) ? 1 : 0;
        }
        if (negative[row] != 0) {
            count = CONFIG_T::levels - count;
        }
        return res_T(static_cast<long long>(CONFIG_T::base) + static_cast<long long>(CONFIG_T::step) * int(count));
    }
};

template <class data_T, class res_T, typename CONFIG_T, class threshold_T, class negative_T>
void eq_threshold(hls::stream<data_T> &data, hls::stream<res_T> &res, const threshold_T &thresholds,
                  const negative_T &negative) {
    eq_map<eq_threshold_element<CONFIG_T>, data_T, res_T, CONFIG_T>(data, res, thresholds, negative);
}

} // namespace nnet

#endif
