#ifndef NNET_EQ_ROW_H_
#define NNET_EQ_ROW_H_

#include "eq_common.h"

namespace nnet {

// Reads a row of n_keys pixels and finds the largest of each channel.
template <class data_T, typename CONFIG_T>
void eq_row(hls::stream<data_T> &data, data_T row[CONFIG_T::n_keys], data_T &top) {
    data_T best;
Keys:
    for (int key = 0; key < CONFIG_T::n_keys; key++) {
        #pragma HLS PIPELINE II=1
        const data_T in = data.read();
    Channels:
        for (int c = 0; c < int(data_T::size); c++) {
            #pragma HLS UNROLL
            if (key == 0 || in[c] > best[c]) {
                best[c] = in[c];
            }
        }
        row[key] = in;
    }
    top = best;
}

} // namespace nnet

#endif
