#ifndef NNET_EQ_ATTENTION_SCORES_H_
#define NNET_EQ_ATTENTION_SCORES_H_

#include "eq_common.h"

namespace nnet {

// The scalar product of every query (data0) with every key (data1), head by head, simd channels of each head a cycle. All keys
// are read first.
//
// pairs: a beat a pair of query and key, a channel a head; else a beat a query, channel head * keys + key.
template <class data0_T, class data1_T, class res_T, typename CONFIG_T>
void eq_attention_scores(hls::stream<data0_T> &data0, hls::stream<data1_T> &data1, hls::stream<res_T> &res) {
    typedef typename res_T::value_type sum_t;
    data1_T keys[CONFIG_T::keys];
    data0_T query;
    res_T out;
    PRAGMA_DATA_PACK(out)
    sum_t sums[CONFIG_T::heads];
    #pragma HLS ARRAY_PARTITION variable=sums complete
Store:
    for (int key = 0; key < CONFIG_T::keys; key++) {
        #pragma HLS PIPELINE II=1
        keys[key] = data1.read();
    }
Queries:
    for (int i = 0; i < CONFIG_T::queries; i++) {
    Keys:
        for (int key = 0; key < CONFIG_T::keys; key++) {
        Folds:
            for (int fold = 0; fold < CONFIG_T::folds; fold++) {
                #pragma HLS LOOP_FLATTEN
                #pragma HLS PIPELINE II=1
                if (key == 0 && fold == 0) {
                    query = data0.read();
                }
            Heads:
                for (int head = 0; head < CONFIG_T::heads; head++) {
                    #pragma HLS UNROLL
                    const int first = (head * CONFIG_T::folds + fold) * CONFIG_T::simd;
                    sum_t sum = fold == 0 ? sum_t(0) : sums[head];
                Lanes:
                    for (int lane = 0; lane < CONFIG_T::simd; lane++) {
                        #pragma HLS UNROLL
                        sum += query[first + lane] * keys[key][first + lane];
                    }
                    sums[head] = sum;
                    out[CONFIG_T::pairs ? head : head * CONFIG_T::keys + key] = sum;
                }
                if (fold == CONFIG_T::folds - 1 && (CONFIG_T::pairs || key == CONFIG_T::keys - 1)) {
                    res.write(out);
                }
            }
        }
    }
}

} // namespace nnet

#endif
