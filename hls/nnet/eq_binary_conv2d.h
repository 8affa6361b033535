#ifndef NNET_EQ_BINARY_CONV2D_H_
#define NNET_EQ_BINARY_CONV2D_H_

#include "eq_binary.h"
#include "eq_window.h"

namespace nnet {

// Convolution with weights and activations of -1 and +1; a padded term contributes 0, exactly.
template <class data_T, class res_T, typename CONFIG_T, class... table_T>
void eq_binary_conv2d(hls::stream<data_T> &data, hls::stream<res_T> &res, const table_T &...tables) {
    eq_slide<typename CONFIG_T::kernel, data_T, res_T, CONFIG_T>(data, res, tables...);
}

} // namespace nnet

#endif
