#ifndef NNET_EQ_MAC_H_
#define NNET_EQ_MAC_H_

#include "eq_common.h"

namespace nnet {

// Place in the patch of term k of an output channel: terms are [tap][channel of the group].
template <typename CONFIG_T> constexpr int eq_term(int channel, int k) {
    return CONFIG_T::groups == 1 ? k
                                 : (k / CONFIG_T::group_chan) * CONFIG_T::n_chan +
                                       (channel / CONFIG_T::group_out) * CONFIG_T::group_chan + k % CONFIG_T::group_chan;
}

// One output vector of a layer that multiplies and accumulates: pe channels by simd terms a cycle, then the fused operator.
//
// weights: [n_out / pe][terms / simd][pe][simd], as eq_times. pe = n_out and simd = terms is the unrolled form.
struct eq_mac {
    template <typename CONFIG_T, class x_T, class res_T, class weight_T, class... post_T>
    static void apply(const x_T &x, res_T &out, const weight_T &weights, const post_T &...post) {
        #pragma HLS INLINE
        #pragma HLS ARRAY_RESHAPE variable=weights cyclic factor=CONFIG_T::lanes
        typedef typename CONFIG_T::acc_t acc_t;
        typedef eq_times<CONFIG_T::digits, CONFIG_T::shift_bits> product;
        acc_t acc[CONFIG_T::pe];
        #pragma HLS ARRAY_PARTITION variable=acc complete
    Neurons:
        for (int nf = 0; nf < CONFIG_T::neuron_folds; nf++) {
        Terms:
            for (int sf = 0; sf < CONFIG_T::term_folds; sf++) {
                #pragma HLS LOOP_FLATTEN
                #pragma HLS PIPELINE II=1
            Elements:
                for (int pe = 0; pe < CONFIG_T::pe; pe++) {
                    #pragma HLS UNROLL
                    const int channel = nf * CONFIG_T::pe + pe;
                    const int base = ((nf * CONFIG_T::term_folds + sf) * CONFIG_T::pe + pe) * CONFIG_T::simd;
                    acc_t sum = sf == 0 ? acc_t(0) : acc[pe];
                Lanes:
                    for (int lane = 0; lane < CONFIG_T::simd; lane++) {
                        #pragma HLS UNROLL
                        const int term = eq_term<CONFIG_T>(channel, sf * CONFIG_T::simd + lane);
                        sum += product::template apply<acc_t>(x[term], weights[base + lane]);
                    }
                    acc[pe] = sum;
                    if (sf == CONFIG_T::term_folds - 1) {
                        out[channel] =
                            CONFIG_T::post::template apply<typename res_T::value_type>(sum, channel, post...);
                    }
                }
            }
        }
    }
};

// One beat in, one beat out: the layer on a vector. kernel_T as in eq_slide.
template <class kernel_T, class data_T, class res_T, typename CONFIG_T, class... table_T>
void eq_vector(hls::stream<data_T> &data, hls::stream<res_T> &res, const table_T &...tables) {
    if (CONFIG_T::folds == 1) {
        #pragma HLS PIPELINE II=1
    }
    data_T in = data.read();
    res_T out;
    PRAGMA_DATA_PACK(out)
    kernel_T::template apply<CONFIG_T>(in, out, tables...);
    res.write(out);
}

} // namespace nnet

#endif
