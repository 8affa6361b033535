#ifndef NNET_EQ_SHIFT_GELU_H_
#define NNET_EQ_SHIFT_GELU_H_

#include "eq_exp_shift.h"

namespace nnet {

// y = m * (((m >= 0 ? one : e) << bits) / (one + e)), m = min(x, hi), e = ExpShift(-|m| * slope), one = 2^(point+shift), pe channels
// a cycle. folds = channels / pe. value_t holds m and -m, dividend_t one << bits.
template <class data_T, class res_T, typename CONFIG_T>
void eq_shift_gelu(hls::stream<data_T> &data, hls::stream<res_T> &res) {
    typedef typename CONFIG_T::value_t value_t;
    typedef typename CONFIG_T::dividend_t dividend_t;
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
                const value_t hi = CONFIG_T::hi;
                const value_t m = value_t(in[c]) > hi ? hi : value_t(in[c]);
                const value_t magnitude = m < 0 ? value_t(-m) : m;
                const eq_exp_t e = eq_exp_shift<CONFIG_T>(magnitude);
                const eq_exp_t one = eq_exp_t(1) << (CONFIG_T::point + CONFIG_T::shift);
                const dividend_t dividend = dividend_t(m < 0 ? e : one) << CONFIG_T::bits;
                const ap_uint<CONFIG_T::bits> sigmoid = dividend / (one + e);
                out[c] = typename res_T::value_type(m * sigmoid);
            }
            if (fold == CONFIG_T::folds - 1) {
                res.write(out);
            }
        }
    }
}

} // namespace nnet

#endif
