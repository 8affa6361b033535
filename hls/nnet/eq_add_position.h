#ifndef NNET_EQ_ADD_POSITION_H_
#define NNET_EQ_ADD_POSITION_H_

#include "eq_common.h"

namespace nnet {

// A constant a pixel and channel, added; one pixel a cycle.
//
// position: [n_pixels * channels], pixel by pixel.
template <class data_T, class res_T, typename CONFIG_T, class position_T>
void eq_add_position(hls::stream<data_T> &data, hls::stream<res_T> &res, const position_T &position) {
    #pragma HLS ARRAY_RESHAPE variable=position cyclic factor=CONFIG_T::n_chan
Pixels:
    for (int pixel = 0; pixel < CONFIG_T::n_pixels; pixel++) {
        #pragma HLS PIPELINE II=1
        data_T in = data.read();
        res_T out;
        PRAGMA_DATA_PACK(out)
    Channels:
        for (int c = 0; c < CONFIG_T::n_chan; c++) {
            #pragma HLS UNROLL
            out[c] = in[c] + position[pixel * CONFIG_T::n_chan + c];
        }
        res.write(out);
    }
}

} // namespace nnet

#endif
