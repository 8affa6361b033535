#ifndef NNET_EQ_CONCAT_H_
#define NNET_EQ_CONCAT_H_

#include "eq_common.h"

namespace nnet {

// The channels of data0, then those of data1.
template <class data0_T, class data1_T, class res_T, typename CONFIG_T>
void eq_concat(hls::stream<data0_T> &data0, hls::stream<data1_T> &data1, hls::stream<res_T> &res) {
Pixels:
    for (int pixel = 0; pixel < CONFIG_T::n_pixels; pixel++) {
        #pragma HLS PIPELINE II=1
        data0_T in0 = data0.read();
        data1_T in1 = data1.read();
        res_T out;
        PRAGMA_DATA_PACK(out)
    First:
        for (int c = 0; c < int(data0_T::size); c++) {
            #pragma HLS UNROLL
            out[c] = in0[c];
        }
    Second:
        for (int c = 0; c < int(data1_T::size); c++) {
            #pragma HLS UNROLL
            out[data0_T::size + c] = in1[c];
        }
        res.write(out);
    }
}

} // namespace nnet

#endif
