#ifndef NNET_EQ_COMMON_H_
#define NNET_EQ_COMMON_H_

#include "hls_stream.h"
#include "nnet_common.h"

namespace nnet {

// What every eq_*.h shares.
//
// A tensor is a stream of nnet::array<T, C>, one pixel with all its channels a beat, raster order; a vector is one beat.
// T holds the value itself: ap_int or ap_uint of the exact range, -1 and +1 as ap_int<2> where a tensor is binary.
// CONFIG_T holds constants written by edgeq; tables are arrays written by hls4ml's weight writer.

// The fused operator of a layer that has none.
struct eq_identity {
    template <class res_T, class value_T> static res_T apply(const value_T &value, int channel) { return res_T(value); }
};

// Row of a table that holds one entry a channel, or one for all channels.
constexpr int eq_row(int rows, int channel) { return rows == 1 ? 0 : channel; }

// A constant times a value: its table holds the constant (digits = 0), or its signed digits, the lowest first, each
// {shift, negative, not 0} from the highest bit down. Then there is no multiplier, but shifts and additions.
template <int digits, int shift_bits> struct eq_times {
    template <class out_T, class value_T, class constant_T>
    static out_T apply(const value_T &value, const constant_T &constant) {
        #pragma HLS INLINE
        out_T sum = 0;
    Digits:
        for (int d = 0; d < digits; d++) {
            #pragma HLS UNROLL
            const int low = d * (2 + shift_bits);
            const ap_uint<2 + shift_bits> digit = constant.range(low + 1 + shift_bits, low);
            const out_T shifted = out_T(value) << int(digit >> 2);
            if (digit[0]) {
                sum = digit[1] ? out_T(sum - shifted) : out_T(sum + shifted);
            }
        }
        return sum;
    }
};
template <int shift_bits> struct eq_times<0, shift_bits> {
    template <class out_T, class value_T, class constant_T>
    static out_T apply(const value_T &value, const constant_T &constant) {
        #pragma HLS INLINE
        return value * constant;
    }
};

// Applies element_T::apply(value, channel, tables...) to every element, a pixel in CONFIG_T::folds cycles.
template <class element_T, class data_T, class res_T, typename CONFIG_T, class... table_T>
void eq_map(hls::stream<data_T> &data, hls::stream<res_T> &res, const table_T &...tables) {
Pixels:
    for (int pixel = 0; pixel < CONFIG_T::n_pixels; pixel++) {
        #pragma HLS PIPELINE II=CONFIG_T::folds
        data_T in = data.read();
        res_T out;
        PRAGMA_DATA_PACK(out)
    Channels:
        for (int c = 0; c < int(data_T::size); c++) {
            #pragma HLS UNROLL
            out[c] = element_T::template apply<typename res_T::value_type>(in[c], c, tables...);
        }
        res.write(out);
    }
}

} // namespace nnet

#endif
