#ifndef NNET_EQ_ADD_H_
#define NNET_EQ_ADD_H_

#include "eq_common.h"

namespace nnet {

// y = a[c] * x0 + b[c] * x1. a: [rows_a], b: [rows_b]: one constant, or one a channel, as eq_times.
template <class data0_T, class data1_T, class res_T, typename CONFIG_T, class a_T, class b_T>
void eq_add(hls::stream<data0_T> &data0, hls::stream<data1_T> &data1, hls::stream<res_T> &res, const a_T &a, const b_T &b) {
    #pragma HLS ARRAY_PARTITION variable=a complete
    #pragma HLS ARRAY_PARTITION variable=b complete
    typedef typename res_T::value_type sum_t;
    typedef eq_times<CONFIG_T::digits, CONFIG_T::shift_bits> product;
Pixels:
    for (int pixel = 0; pixel < CONFIG_T::n_pixels; pixel++) {
        #pragma HLS PIPELINE II=CONFIG_T::folds
        data0_T in0 = data0.read();
        data1_T in1 = data1.read();
        res_T out;
        PRAGMA_DATA_PACK(out)
    Channels:
        for (int c = 0; c < int(res_T::size); c++) {
            #pragma HLS UNROLL
            const sum_t first = product::template apply<sum_t>(in0[c], a[eq_row(CONFIG_T::rows_a, c)]);
            out[c] = first + product::template apply<sum_t>(in1[c], b[eq_row(CONFIG_T::rows_b, c)]);
        }
        res.write(out);
    }
}

} // namespace nnet

#endif
