#ifndef NNET_EQ_LOOKUP_H_
#define NNET_EQ_LOOKUP_H_

#include "eq_common.h"

namespace nnet {

// y = table[c][(x - lo) / step], pe channels a cycle.
//
// table: [rows * entries], rows is 1 or the number of channels. folds = channels / pe.
template <class data_T, class res_T, typename CONFIG_T, class table_T>
void eq_lookup(hls::stream<data_T> &data, hls::stream<res_T> &res, const table_T &table) {
    #pragma HLS BIND_STORAGE variable=table type=rom_np
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
                const int at = (int(in[c]) - CONFIG_T::lo) / CONFIG_T::step;
                out[c] = typename res_T::value_type(table[eq_row(CONFIG_T::rows, c) * CONFIG_T::entries + at]);
            }
            if (fold == CONFIG_T::folds - 1) {
                res.write(out);
            }
        }
    }
}

} // namespace nnet

#endif
