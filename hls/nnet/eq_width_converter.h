#ifndef NNET_EQ_WIDTH_CONVERTER_H_
#define NNET_EQ_WIDTH_CONVERTER_H_

#include "eq_common.h"

namespace nnet {

// The same stream: here every beat is a pixel, and only the Verilog has others.
template <class data_T, class res_T, typename CONFIG_T>
void eq_width_converter(hls::stream<data_T> &data, hls::stream<res_T> &res) {
Pixels:
    for (int p = 0; p < CONFIG_T::n_pixels; p++) {
        #pragma HLS PIPELINE II=1
        res.write(data.read());
    }
}

} // namespace nnet

#endif
