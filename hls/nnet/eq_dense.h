#ifndef NNET_EQ_DENSE_H_
#define NNET_EQ_DENSE_H_

#include "eq_mac.h"

namespace nnet {

// Dense layer with integer weights, exact sums, then the fused operator.
template <class data_T, class res_T, typename CONFIG_T, class... table_T>
void eq_dense(hls::stream<data_T> &data, hls::stream<res_T> &res, const table_T &...tables) {
    eq_vector<eq_mac, data_T, res_T, CONFIG_T>(data, res, tables...);
}

} // namespace nnet

#endif
