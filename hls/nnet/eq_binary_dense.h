#ifndef NNET_EQ_BINARY_DENSE_H_
#define NNET_EQ_BINARY_DENSE_H_

#include "eq_binary.h"

namespace nnet {

// Dense layer with weights and activations of -1 and +1.
template <class data_T, class res_T, typename CONFIG_T, class... table_T>
void eq_binary_dense(hls::stream<data_T> &data, hls::stream<res_T> &res, const table_T &...tables) {
    eq_vector<typename CONFIG_T::kernel, data_T, res_T, CONFIG_T>(data, res, tables...);
}

} // namespace nnet

#endif
