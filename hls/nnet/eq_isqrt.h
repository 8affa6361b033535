#ifndef NNET_EQ_ISQRT_H_
#define NNET_EQ_ISQRT_H_

#include "eq_root.h"

namespace nnet {

// y = floor(sqrt(x)), pe channels a cycle. folds = channels / pe; digits: bits of a root.
template <class data_T, class res_T, typename CONFIG_T>
void eq_isqrt(hls::stream<data_T> &data, hls::stream<res_T> &res) {
    data_T in;
    res_T out;
    PRAGMA_DATA_PACK(out)
Pixels:
    for (int pixel = 0; pixel < CONFIG_T::n_pixels; pixel++) {
    Folds:
        for (int fold = 0; fold < CONFIG_T::folds; fold++) {
            #pragma HLS LOOP_FLATTEN
            #pragma HLS PIPELINE II=1
            if (fold == 0) {
                in = data.read();
            }
        Lanes:
            for (int lane = 0; lane < CONFIG_T::pe; lane++) {
                #pragma HLS UNROLL
                const int c = fold * CONFIG_T::pe + lane;
                out[c] = eq_root<CONFIG_T::digits>(in[c]);
            }
            if (fold == CONFIG_T::folds - 1) {
                res.write(out);
            }
        }
    }
}

} // namespace nnet

#endif
