#ifndef NNET_EQ_BINARY_H_
#define NNET_EQ_BINARY_H_

#include "eq_mac.h"

namespace nnet {

// Bits set among the low `bits` bits of a word: a balanced adder tree. bits: 1 to 32.
template <int bits> struct eq_popcount {
    static int of(unsigned word) { return eq_popcount<bits / 2>::of(word) + eq_popcount<bits - bits / 2>::of(word >> (bits / 2)); }
};
template <> struct eq_popcount<1> {
    static int of(unsigned word) { return word & 1; }
};

// A patch of -1, 0 (padding) and +1 as bits: `plus` marks +1, `real` marks what is not padding; `n_real` counts the latter.
//
// Each group has term_folds chunks of simd terms, each chunk n_words words of word_bits bits.
template <typename CONFIG_T> struct eq_words {
    static const int n_group = CONFIG_T::term_folds * CONFIG_T::n_words;
    static const int n = CONFIG_T::groups * n_group;
};

template <typename CONFIG_T, class x_T>
void eq_pack(const x_T &x, unsigned (&plus)[eq_words<CONFIG_T>::n], unsigned (&real)[eq_words<CONFIG_T>::n],
             int (&n_real)[CONFIG_T::groups]) {
    #pragma HLS INLINE
    const int n_group = eq_words<CONFIG_T>::n_group;
Groups:
    for (int group = 0; group < CONFIG_T::groups; group++) {
        #pragma HLS UNROLL
        n_real[group] = 0;
    Words:
        for (int word = 0; word < n_group; word++) {
            #pragma HLS UNROLL
            const int first = (word % CONFIG_T::n_words) * CONFIG_T::word_bits;
            unsigned p = 0, r = 0;
        Bits:
            for (int bit = 0; bit < CONFIG_T::word_bits; bit++) {
                #pragma HLS UNROLL
                if (first + bit < CONFIG_T::simd) {
                    const int k = (word / CONFIG_T::n_words) * CONFIG_T::simd + first + bit;
                    const int at = eq_term<CONFIG_T>(group * CONFIG_T::group_out, k);
                    p |= unsigned(x[at] > 0) << bit;
                    r |= unsigned(CONFIG_T::padded == 0 || x[at] != 0) << bit;
                }
            }
            plus[group * n_group + word] = p;
            real[group * n_group + word] = r;
            n_real[group] += eq_popcount<CONFIG_T::word_bits>::of(r);
        }
    }
}

// Where x and w agree, among the bits of `mask`.
template <int bits> int eq_agreements(unsigned x, unsigned w, unsigned mask) {
    #pragma HLS INLINE
    return eq_popcount<bits>::of(~(x ^ w) & mask);
}

// One output vector of a binary layer, each channel on its own: y = 2 * agreements - real terms.
//
// weights: words [n_out / pe][terms / simd][pe][n_words], bit 1 for +1.
struct eq_binary_mac {
    template <typename CONFIG_T, class x_T, class res_T, class weight_T, class... post_T>
    static void apply(const x_T &x, res_T &out, const weight_T &weights, const post_T &...post) {
        #pragma HLS INLINE
        #pragma HLS ARRAY_RESHAPE variable=weights cyclic factor=CONFIG_T::lanes
        typedef typename CONFIG_T::count_t count_t;
        typedef typename CONFIG_T::acc_t acc_t;
        unsigned plus[eq_words<CONFIG_T>::n], real[eq_words<CONFIG_T>::n];
        int n_real[CONFIG_T::groups];
        #pragma HLS ARRAY_PARTITION variable=plus complete
        #pragma HLS ARRAY_PARTITION variable=real complete
        #pragma HLS ARRAY_PARTITION variable=n_real complete
        eq_pack<CONFIG_T>(x, plus, real, n_real);
        count_t counts[CONFIG_T::pe];
        #pragma HLS ARRAY_PARTITION variable=counts complete
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
                    const int group = channel / CONFIG_T::group_out;
                    const int base = ((nf * CONFIG_T::term_folds + sf) * CONFIG_T::pe + pe) * CONFIG_T::n_words;
                    count_t count = sf == 0 ? count_t(0) : counts[pe];
                Words:
                    for (int word = 0; word < CONFIG_T::n_words; word++) {
                        #pragma HLS UNROLL
                        const int at = group * eq_words<CONFIG_T>::n_group + sf * CONFIG_T::n_words + word;
                        count += eq_agreements<CONFIG_T::word_bits>(plus[at], unsigned(weights[base + word]),
                                                                    real[at]);
                    }
                    counts[pe] = count;
                    if (sf == CONFIG_T::term_folds - 1) {
                        const acc_t y = 2 * int(count) - n_real[group];
                        out[channel] = CONFIG_T::post::template apply<typename res_T::value_type>(y, channel, post...);
                    }
                }
            }
        }
    }
};

// One output vector of an unrolled binary layer along its minimum spanning tree (MST-compression, ICCV 2023).
//
// Step s computes channel channels[s]. links[s] is 0 for a root (one a group), y = sum over all terms of w * x; else, with p the
// parent's channel parents[s] and D the terms marked in deltas, y = +-y[p] + 2 * (sum over D of w * x): + and D where the
// weights differ for a link of +1, - and D where they are equal for a link of -1 (complement edge).
// Padded terms are in no sum. weights, deltas: words [n_out][n_words] in step order; they are constants, so a term outside
// D costs no logic.
struct eq_binary_tree {
    template <typename CONFIG_T, class x_T, class res_T, class weight_T, class delta_T, class channel_T, class parent_T,
              class link_T, class... post_T>
    static void apply(const x_T &x, res_T &out, const weight_T &weights, const delta_T &deltas, const channel_T &channels,
                      const parent_T &parents, const link_T &links, const post_T &...post) {
        #pragma HLS INLINE
        #pragma HLS ARRAY_PARTITION variable=weights complete
        #pragma HLS ARRAY_PARTITION variable=deltas complete
        #pragma HLS ARRAY_PARTITION variable=channels complete
        #pragma HLS ARRAY_PARTITION variable=parents complete
        #pragma HLS ARRAY_PARTITION variable=links complete
        typedef typename CONFIG_T::acc_t acc_t;
        unsigned plus[eq_words<CONFIG_T>::n], real[eq_words<CONFIG_T>::n];
        int n_real[CONFIG_T::groups];
        #pragma HLS ARRAY_PARTITION variable=plus complete
        #pragma HLS ARRAY_PARTITION variable=real complete
        #pragma HLS ARRAY_PARTITION variable=n_real complete
        eq_pack<CONFIG_T>(x, plus, real, n_real);
        acc_t y[CONFIG_T::n_out];
        #pragma HLS ARRAY_PARTITION variable=y complete
    Steps:
        for (int step = 0; step < CONFIG_T::n_out; step++) {
            #pragma HLS UNROLL
            const int channel = int(channels[step]);
            const int first = (channel / CONFIG_T::group_out) * CONFIG_T::n_words;
            int agreements = 0, n_terms = 0;
        Words:
            for (int word = 0; word < CONFIG_T::n_words; word++) {
                #pragma HLS UNROLL
                const int at = step * CONFIG_T::n_words + word;
                const unsigned terms = unsigned(deltas[at]) & real[first + word];
                agreements += eq_agreements<CONFIG_T::word_bits>(plus[first + word], unsigned(weights[at]), terms);
                n_terms += eq_popcount<CONFIG_T::word_bits>::of(terms);
            }
            const int sum = 2 * agreements - n_terms;
            if (links[step] == 0) {
                y[channel] = sum;
            } else {
                const int parent = int(y[int(parents[step])]);
                y[channel] = (links[step] > 0 ? parent : -parent) + 2 * sum;
            }
            out[channel] = CONFIG_T::post::template apply<typename res_T::value_type>(y[channel], channel, post...);
        }
    }
};

} // namespace nnet

#endif
