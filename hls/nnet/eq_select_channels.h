#ifndef NNET_EQ_SELECT_CHANNELS_H_
#define NNET_EQ_SELECT_CHANNELS_H_

#include "eq_common.h"

namespace nnet {

// The channels from start on of each pixel, one pixel a cycle.
template <class data_T, class res_T, typename CONFIG_T>
void eq_select_channels(hls::stream<data_T> &data, hls::stream<res_T> &res) {
Pixels:
    for (int pixel = 0; pixel < CONFIG_T::n_pixels; pixel++) {
        #pragma HLS PIPELINE II=1
        data_T in = data.read();
        res_T out;
        PRAGMA_DATA_PACK(out)
    Channels:
        for (int c = 0; c < int(res_T::size); c++) {
            #pragma HLS UNROLL
            out[c] = in[CONFIG_T::start + c];
        }
        res.write(out);
    }
}

} // namespace nnet

#endif
