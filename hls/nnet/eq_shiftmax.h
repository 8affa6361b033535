#ifndef NNET_EQ_SHIFTMAX_H_
#define NNET_EQ_SHIFTMAX_H_

#include "eq_exp_shift.h"
#include "eq_row.h"
#include "nnet_types.h"

namespace nnet {

// The exponentials of a row, and of each channel 2^31 - 1 divided by their sum.
template <class data_T, class exp_T, typename CONFIG_T>
void eq_shiftmax_exp(const data_T row[CONFIG_T::n_keys], const data_T &top, exp_T e[CONFIG_T::n_keys], exp_T &factor) {
    exp_T sum;
Keys:
    for (int key = 0; key < CONFIG_T::n_keys; key++) {
        #pragma HLS PIPELINE II=1
        exp_T out;
    Channels:
        for (int c = 0; c < int(data_T::size); c++) {
            #pragma HLS UNROLL
            out[c] = eq_exp_shift<CONFIG_T>(top[c] - row[key][c]);
            sum[c] = key == 0 ? out[c] : eq_exp_t(sum[c] + out[c]);
        }
        e[key] = out;
    }
Divide:
    for (int c = 0; c < int(data_T::size); c++) {
        factor[c] = eq_exp_t(0x7fffffff) / sum[c];
    }
}

template <class exp_T, class res_T, typename CONFIG_T>
void eq_shiftmax_products(const exp_T e[CONFIG_T::n_keys], const exp_T &factor, hls::stream<res_T> &res) {
Keys:
    for (int key = 0; key < CONFIG_T::n_keys; key++) {
        #pragma HLS PIPELINE II=1
        res_T out;
        PRAGMA_DATA_PACK(out)
    Channels:
        for (int c = 0; c < int(res_T::size); c++) {
            #pragma HLS UNROLL
            out[c] = typename res_T::value_type(eq_exp_t(e[key][c] * factor[c]) >> (32 - CONFIG_T::bits));
        }
        res.write(out);
    }
}

// y = e * ((2^31 - 1) / sum of e) >> (32 - bits), e = ExpShift((x - largest of the row) * slope): three passes over a row, each of
// which works on another row.
template <class data_T, class res_T, typename CONFIG_T>
void eq_shiftmax(hls::stream<data_T> &data, hls::stream<res_T> &res) {
    typedef nnet::array<eq_exp_t, data_T::size> exp_T;
Rows:
    for (int row = 0; row < CONFIG_T::n_rows; row++) {
        #pragma HLS DATAFLOW
        data_T x[CONFIG_T::n_keys], top;
        exp_T e[CONFIG_T::n_keys], factor;
        eq_row<data_T, CONFIG_T>(data, x, top);
        eq_shiftmax_exp<data_T, exp_T, CONFIG_T>(x, top, e, factor);
        eq_shiftmax_products<exp_T, res_T, CONFIG_T>(e, factor, res);
    }
}

} // namespace nnet

#endif
