#ifndef NNET_EQ_AVERAGE_POOL_H_
#define NNET_EQ_AVERAGE_POOL_H_

#include "eq_window.h"

namespace nnet {

// Sum of each channel's taps, padding counted as 0; the division is in the scale.
struct eq_sum {
    template <typename CONFIG_T, class x_T, class res_T> static void apply(const x_T &x, res_T &out) {
        #pragma HLS INLINE
    Channels:
        for (int c = 0; c < CONFIG_T::n_chan; c++) {
            #pragma HLS UNROLL
            typename CONFIG_T::acc_t sum = 0;
        Taps:
            for (int tap = 0; tap < CONFIG_T::kernel_height * CONFIG_T::kernel_width; tap++) {
                #pragma HLS UNROLL
                sum += x[tap * CONFIG_T::n_chan + c];
            }
            out[c] = sum;
        }
    }
};

template <class data_T, class res_T, typename CONFIG_T>
void eq_average_pool(hls::stream<data_T> &data, hls::stream<res_T> &res) {
    eq_slide<eq_sum, data_T, res_T, CONFIG_T>(data, res);
}

} // namespace nnet

#endif
