#ifndef NNET_EQ_ARGMAX_H_
#define NNET_EQ_ARGMAX_H_

#include "eq_common.h"

namespace nnet {

// Index of the largest channel of each pixel, the first of equals.
template <class data_T, class res_T, typename CONFIG_T>
void eq_argmax(hls::stream<data_T> &data, hls::stream<res_T> &res) {
Pixels:
    for (int pixel = 0; pixel < CONFIG_T::n_pixels; pixel++) {
        #pragma HLS PIPELINE II=1
        data_T in = data.read();
        typename data_T::value_type best = in[0];
        int index = 0;
    Channels:
        for (int c = 1; c < int(data_T::size); c++) {
            #pragma HLS UNROLL
            if (in[c] > best) {
                best = in[c];
                index = c;
            }
        }
        res_T out;
        PRAGMA_DATA_PACK(out)
        out[0] = index;
        res.write(out);
    }
}

} // namespace nnet

#endif
