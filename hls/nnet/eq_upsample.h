#ifndef NNET_EQ_UPSAMPLE_H_
#define NNET_EQ_UPSAMPLE_H_

#include "eq_common.h"

namespace nnet {

// Nearest-neighbour upsampling by integer factors: one output pixel a cycle, one input row kept.
template <class data_T, class res_T, typename CONFIG_T>
void eq_upsample(hls::stream<data_T> &data, hls::stream<res_T> &res) {
    static data_T line[CONFIG_T::in_width];
Rows:
    for (int row = 0; row < CONFIG_T::in_height * CONFIG_T::factor_height; row++) {
    Cols:
        for (int col = 0; col < CONFIG_T::in_width * CONFIG_T::factor_width; col++) {
            #pragma HLS PIPELINE II=1
            const int from = col / CONFIG_T::factor_width;
            if (row % CONFIG_T::factor_height == 0 && col % CONFIG_T::factor_width == 0) {
                line[from] = data.read();
            }
            res_T out;
            PRAGMA_DATA_PACK(out)
        Channels:
            for (int c = 0; c < int(res_T::size); c++) {
                #pragma HLS UNROLL
                out[c] = line[from][c];
            }
            res.write(out);
        }
    }
}

} // namespace nnet

#endif
