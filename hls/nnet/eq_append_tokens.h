#ifndef NNET_EQ_APPEND_TOKENS_H_
#define NNET_EQ_APPEND_TOKENS_H_

#include "eq_common.h"

namespace nnet {

// The pixels of a frame, then constant ones, or these first; one a cycle.
//
// tokens: [n_tokens * channels], pixel by pixel.
template <class data_T, class res_T, typename CONFIG_T, class tokens_T>
void eq_append_tokens(hls::stream<data_T> &data, hls::stream<res_T> &res, const tokens_T &tokens) {
    #pragma HLS ARRAY_RESHAPE variable=tokens cyclic factor=CONFIG_T::n_chan
Pixels:
    for (int pixel = 0; pixel < CONFIG_T::n_pixels + CONFIG_T::n_tokens; pixel++) {
        #pragma HLS PIPELINE II=1
        const int token = CONFIG_T::front ? pixel : pixel - CONFIG_T::n_pixels;
        const bool constant = token >= 0 && token < CONFIG_T::n_tokens;
        data_T in;
        if (!constant) {
            in = data.read();
        }
        res_T out;
        PRAGMA_DATA_PACK(out)
    Channels:
        for (int c = 0; c < CONFIG_T::n_chan; c++) {
            #pragma HLS UNROLL
            if (constant) {
                out[c] = tokens[token * CONFIG_T::n_chan + c];
            } else {
                out[c] = in[c];
            }
        }
        res.write(out);
    }
}

} // namespace nnet

#endif
