#ifndef NNET_EQ_GLOBAL_MAX_POOL_H_
#define NNET_EQ_GLOBAL_MAX_POOL_H_

#include "eq_common.h"

namespace nnet {

// Largest of each channel over the frame. One pixel a cycle, one result a frame.
template <class data_T, class res_T, typename CONFIG_T>
void eq_global_max_pool(hls::stream<data_T> &data, hls::stream<res_T> &res) {
    typename res_T::value_type best[data_T::size];
    #pragma HLS ARRAY_PARTITION variable=best complete
Pixels:
    for (int pixel = 0; pixel < CONFIG_T::n_pixels; pixel++) {
        #pragma HLS PIPELINE II=1
        data_T in = data.read();
    Channels:
        for (int c = 0; c < int(data_T::size); c++) {
            #pragma HLS UNROLL
            if (pixel == 0 || in[c] > best[c]) {
                best[c] = in[c];
            }
        }
    }
    res_T out;
    PRAGMA_DATA_PACK(out)
Result:
    for (int c = 0; c < int(data_T::size); c++) {
        #pragma HLS UNROLL
        out[c] = best[c];
    }
    res.write(out);
}

} // namespace nnet

#endif
