#ifndef NNET_EQ_REARRANGE_H_
#define NNET_EQ_REARRANGE_H_

#include "eq_common.h"

namespace nnet {

// Place in the input frame (channels first) of element `to` of the output frame (channels first).
//
// sizes and strides: the output's axes before its last reshape, six of them, outermost first, and the step each makes
// in the input.
template <typename CONFIG_T> int eq_source(int to) {
    #pragma HLS INLINE
    const int sizes[6] = {CONFIG_T::size0, CONFIG_T::size1, CONFIG_T::size2,
                          CONFIG_T::size3, CONFIG_T::size4, CONFIG_T::size5};
    const int strides[6] = {CONFIG_T::stride0, CONFIG_T::stride1, CONFIG_T::stride2,
                            CONFIG_T::stride3, CONFIG_T::stride4, CONFIG_T::stride5};
    int from = 0;
    for (int axis = 5; axis >= 0; axis--) {
        #pragma HLS UNROLL
        from += (to % sizes[axis]) * strides[axis];
        to /= sizes[axis];
    }
    return from;
}

// Flatten, reshape and transpose: collects a frame, then writes its elements in another order.
template <class data_T, class res_T, typename CONFIG_T>
void eq_rearrange(hls::stream<data_T> &data, hls::stream<res_T> &res) {
    const int in_beats = CONFIG_T::n_elements / data_T::size; // one pixel each, or several
    const int in_pixels = CONFIG_T::n_elements / CONFIG_T::in_channels;
    const int out_pixels = CONFIG_T::n_elements / res_T::size;
    static typename data_T::value_type frame[CONFIG_T::n_elements];
    #pragma HLS ARRAY_PARTITION variable=frame complete
Collect:
    for (int beat = 0; beat < in_beats; beat++) {
        #pragma HLS PIPELINE II=1
        data_T in = data.read();
        for (int e = 0; e < int(data_T::size); e++) {
            #pragma HLS UNROLL
            const int place = beat * int(data_T::size) + e;
            frame[place % CONFIG_T::in_channels * in_pixels + place / CONFIG_T::in_channels] = in[e];
        }
    }
Emit:
    for (int pixel = 0; pixel < out_pixels; pixel++) {
        #pragma HLS PIPELINE II=1
        res_T out;
        PRAGMA_DATA_PACK(out)
        for (int c = 0; c < int(res_T::size); c++) {
            #pragma HLS UNROLL
            out[c] = frame[eq_source<CONFIG_T>(c * out_pixels + pixel)];
        }
        res.write(out);
    }
}

} // namespace nnet

#endif
