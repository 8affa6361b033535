#ifndef NNET_EQ_CONV2D_H_
#define NNET_EQ_CONV2D_H_

#include "eq_mac.h"
#include "eq_window.h"

namespace nnet {

// Convolution with integer weights: zero padding, any stride, dilation and groups, exact sums, then the fused operator.
template <class data_T, class res_T, typename CONFIG_T, class... table_T>
void eq_conv2d(hls::stream<data_T> &data, hls::stream<res_T> &res, const table_T &...tables) {
    eq_slide<eq_mac, data_T, res_T, CONFIG_T>(data, res, tables...);
}

} // namespace nnet

#endif
