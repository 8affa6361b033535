#ifndef NNET_EQ_GLOBAL_AVERAGE_POOL_H_
#define NNET_EQ_GLOBAL_AVERAGE_POOL_H_

#include "eq_common.h"

namespace nnet {

// Sum of each channel over the frame; the division is in the scale. One pixel a cycle, one result a frame.
template <class data_T, class res_T, typename CONFIG_T>
void eq_global_average_pool(hls::stream<data_T> &data, hls::stream<res_T> &res) {
    typename CONFIG_T::acc_t sums[data_T::size];
    #pragma HLS ARRAY_PARTITION variable=sums complete
Pixels:
    for (int pixel = 0; pixel < CONFIG_T::n_pixels; pixel++) {
        #pragma HLS PIPELINE II=1
        data_T in = data.read();
    Channels:
        for (int c = 0; c < int(data_T::size); c++) {
            #pragma HLS UNROLL
            sums[c] = (pixel == 0 ? typename CONFIG_T::acc_t(0) : sums[c]) + in[c];
        }
    }
    res_T out;
    PRAGMA_DATA_PACK(out)
Result:
    for (int c = 0; c < int(data_T::size); c++) {
        #pragma HLS UNROLL
        out[c] = sums[c];
    }
    res.write(out);
}

} // namespace nnet

#endif
