#ifndef NNET_EQ_MAX_POOL_H_
#define NNET_EQ_MAX_POOL_H_

#include "eq_window.h"

namespace nnet {

// Largest of each channel's taps; padding holds the least value of the input's range, so it never wins.
struct eq_max {
    template <typename CONFIG_T, class x_T, class res_T> static void apply(const x_T &x, res_T &out) {
        #pragma HLS INLINE
    Channels:
        for (int c = 0; c < CONFIG_T::n_chan; c++) {
            #pragma HLS UNROLL
            typename res_T::value_type best = x[c];
        Taps:
            for (int tap = 1; tap < CONFIG_T::kernel_height * CONFIG_T::kernel_width; tap++) {
                #pragma HLS UNROLL
                if (x[tap * CONFIG_T::n_chan + c] > best) {
                    best = x[tap * CONFIG_T::n_chan + c];
                }
            }
            out[c] = best;
        }
    }
};

template <class data_T, class res_T, typename CONFIG_T>
void eq_max_pool(hls::stream<data_T> &data, hls::stream<res_T> &res) {
    eq_slide<eq_max, data_T, res_T, CONFIG_T>(data, res);
}

} // namespace nnet

#endif
