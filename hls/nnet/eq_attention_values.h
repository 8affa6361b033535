#ifndef NNET_EQ_ATTENTION_VALUES_H_
#define NNET_EQ_ATTENTION_VALUES_H_

#include "eq_common.h"

namespace nnet {

// For every query the sum of all values (data1), weighted head by head by the beats of its attention map (data0), pe channels of
// each head a cycle. All values are read first.
template <class data0_T, class data1_T, class res_T, typename CONFIG_T>
void eq_attention_values(hls::stream<data0_T> &data0, hls::stream<data1_T> &data1, hls::stream<res_T> &res) {
    typedef typename res_T::value_type sum_t;
    data1_T values[CONFIG_T::keys];
    data0_T weights;
    res_T out;
    PRAGMA_DATA_PACK(out)
Store:
    for (int key = 0; key < CONFIG_T::keys; key++) {
        #pragma HLS PIPELINE II=1
        values[key] = data1.read();
    }
Queries:
    for (int i = 0; i < CONFIG_T::queries; i++) {
    Keys:
        for (int key = 0; key < CONFIG_T::keys; key++) {
        Folds:
            for (int fold = 0; fold < CONFIG_T::folds; fold++) {
                #pragma HLS LOOP_FLATTEN
                #pragma HLS PIPELINE II=1
                if (fold == 0) {
                    weights = data0.read();
                }
            Heads:
                for (int head = 0; head < CONFIG_T::heads; head++) {
                    #pragma HLS UNROLL
                Lanes:
                    for (int lane = 0; lane < CONFIG_T::pe; lane++) {
                        #pragma HLS UNROLL
                        const int c = (head * CONFIG_T::folds + fold) * CONFIG_T::pe + lane;
                        out[c] = (key == 0 ? sum_t(0) : out[c]) + weights[head] * values[key][c];
                    }
                }
                if (fold == CONFIG_T::folds - 1 && key == CONFIG_T::keys - 1) {
                    res.write(out);
                }
            }
        }
    }
}

} // namespace nnet

#endif
