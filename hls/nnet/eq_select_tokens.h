#ifndef NNET_EQ_SELECT_TOKENS_H_
#define NNET_EQ_SELECT_TOKENS_H_

#include "eq_common.h"

namespace nnet {

// The pixels start to start + count - 1 of a frame; one pixel read a cycle.
template <class data_T, class res_T, typename CONFIG_T>
void eq_select_tokens(hls::stream<data_T> &data, hls::stream<res_T> &res) {
Pixels:
    for (int pixel = 0; pixel < CONFIG_T::n_pixels; pixel++) {
        #pragma HLS PIPELINE II=1
        data_T in = data.read();
        if (pixel >= CONFIG_T::start && pixel < CONFIG_T::start + CONFIG_T::count) {
            res_T out;
            PRAGMA_DATA_PACK(out)
        Channels:
            for (int c = 0; c < int(data_T::size); c++) {
                #pragma HLS UNROLL
                out[c] = in[c];
            }
            res.write(out);
        }
    }
}

} // namespace nnet

#endif
