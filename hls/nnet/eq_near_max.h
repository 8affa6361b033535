#ifndef NNET_EQ_NEAR_MAX_H_
#define NNET_EQ_NEAR_MAX_H_

#include "eq_row.h"

namespace nnet {

// Writes a row: 1 where an element is near the largest, else 0.
template <class data_T, class res_T, typename CONFIG_T>
void eq_near_row(const data_T row[CONFIG_T::n_keys], const data_T &top, hls::stream<res_T> &res) {
Keys:
    for (int key = 0; key < CONFIG_T::n_keys; key++) {
        #pragma HLS PIPELINE II=1
        res_T out;
        PRAGMA_DATA_PACK(out)
    Channels:
        for (int c = 0; c < int(data_T::size); c++) {
            #pragma HLS UNROLL
            out[c] = top[c] - row[key][c] <= CONFIG_T::margin;
        }
        res.write(out);
    }
}

// y = 1 where x >= the largest of its row - margin, else 0. A row is written while the next one is read.
template <class data_T, class res_T, typename CONFIG_T>
void eq_near_max(hls::stream<data_T> &data, hls::stream<res_T> &res) {
Rows:
    for (int row = 0; row < CONFIG_T::n_rows; row++) {
        #pragma HLS DATAFLOW
        data_T x[CONFIG_T::n_keys], top;
        eq_row<data_T, CONFIG_T>(data, x, top);
        eq_near_row<data_T, res_T, CONFIG_T>(x, top, res);
    }
}

} // namespace nnet

#endif
