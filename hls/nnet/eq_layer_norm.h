#ifndef NNET_EQ_LAYER_NORM_H_
#define NNET_EQ_LAYER_NORM_H_

#include "eq_root.h"

namespace nnet {

// y = (d * F) >> (1 + shift) of each pixel over its channels: d = x - mean, rounded half to even, and
// F = (2^31 - 1) / floor(sqrt(sum of d * d)). pe channels a cycle, folds = channels / pe, in each of three passes.
//
// The mean, as eq_layer_norm.sv: sum_t wraps and holds the sum of all x - base, base even, and half of the channels. That divided
// by 2^twos, times mean_mul (product_t), shifted by mean_shift, is the quotient; it is exact where what is shifted out is less
// than mean_mul. diff_t holds d, square_t the sum of squares, digits the bits of its root.
template <class data_T, class res_T, typename CONFIG_T>
void eq_layer_norm(hls::stream<data_T> &data, hls::stream<res_T> &res) {
    typedef typename CONFIG_T::sum_t sum_t;
    typedef typename CONFIG_T::product_t product_t;
    typedef typename CONFIG_T::diff_t diff_t;
    typedef typename CONFIG_T::square_t square_t;
    data_T in;
    diff_t diffs[data_T::size];
    #pragma HLS ARRAY_RESHAPE variable=diffs cyclic factor=CONFIG_T::pe
    res_T out;
    PRAGMA_DATA_PACK(out)
Pixels:
    for (int pixel = 0; pixel < CONFIG_T::n_pixels; pixel++) {
        in = data.read();
        sum_t sum = CONFIG_T::start;
    Sum:
        for (int fold = 0; fold < CONFIG_T::folds; fold++) {
            #pragma HLS PIPELINE II=1
            for (int lane = 0; lane < CONFIG_T::pe; lane++) {
                #pragma HLS UNROLL
                sum += sum_t(in[fold * CONFIG_T::pe + lane]);
            }
        }
        const product_t product = product_t(sum >> CONFIG_T::twos) * product_t(CONFIG_T::mean_mul);
        const product_t quotient = product >> CONFIG_T::mean_shift;
        const product_t left = product - (quotient << CONFIG_T::mean_shift);
        const bool even = CONFIG_T::twos > 0 && ((sum >> CONFIG_T::twos) << CONFIG_T::twos) == sum;
        const bool tie = even && left < product_t(CONFIG_T::mean_mul) && quotient[0] == 1;
        const diff_t mean = diff_t(quotient) + diff_t(CONFIG_T::base) - ap_uint<1>(tie);
        square_t squares = 0;
    Squares:
        for (int fold = 0; fold < CONFIG_T::folds; fold++) {
            #pragma HLS PIPELINE II=1
            for (int lane = 0; lane < CONFIG_T::pe; lane++) {
                #pragma HLS UNROLL
                const int c = fold * CONFIG_T::pe + lane;
                const diff_t diff = diff_t(in[c]) - mean;
                diffs[c] = diff;
                squares += diff * diff;
            }
        }
        const ap_uint<CONFIG_T::digits> root = eq_root<CONFIG_T::digits>(squares);
        const ap_uint<31> numerator = 0x7fffffff;
        const ap_uint<31> reciprocal = root == 0 ? numerator : ap_uint<31>(numerator / root);
    Products:
        for (int fold = 0; fold < CONFIG_T::folds; fold++) {
            #pragma HLS PIPELINE II=1
            for (int lane = 0; lane < CONFIG_T::pe; lane++) {
                #pragma HLS UNROLL
                const int c = fold * CONFIG_T::pe + lane;
                const ap_int<32> scaled = diffs[c] * reciprocal;
                out[c] = scaled >> (1 + CONFIG_T::shift);
            }
        }
        res.write(out);
    }
}

} // namespace nnet

#endif
