#ifndef NNET_EQ_WINDOW_H_
#define NNET_EQ_WINDOW_H_

#include "eq_common.h"

namespace nnet {

// Geometry of a window that slides over a padded image.
template <typename CONFIG_T> struct eq_geometry {
    static const int height = CONFIG_T::in_height + CONFIG_T::pad_top + CONFIG_T::pad_bottom;
    static const int width = CONFIG_T::in_width + CONFIG_T::pad_left + CONFIG_T::pad_right;
    static const int extent_height = (CONFIG_T::kernel_height - 1) * CONFIG_T::dilation_height + 1;
    static const int extent_width = (CONFIG_T::kernel_width - 1) * CONFIG_T::dilation_width + 1;
    static const int n_lines = extent_height > 1 ? extent_height - 1 : 1;
    static const int n_patch = CONFIG_T::kernel_height * CONFIG_T::kernel_width * CONFIG_T::n_chan;
};

// Calls kernel_T::apply<CONFIG_T>(patch, out, tables...) for every window and writes `out`.
//
// Walks the padded image one position a step, as eq_window.sv does: (H+pads)*(W+pads) steps a frame, plus the kernel's own
// CONFIG_T::folds cycles a window. Padding has the value CONFIG_T::pad_value. patch: [kernel_h][kernel_w][n_chan].
template <class kernel_T, class data_T, class res_T, typename CONFIG_T, class... table_T>
void eq_slide(hls::stream<data_T> &data, hls::stream<res_T> &res, const table_T &...tables) {
    typedef typename data_T::value_type value_t;
    typedef eq_geometry<CONFIG_T> geometry;

    static value_t lines[geometry::n_lines][geometry::width][CONFIG_T::n_chan];
    #pragma HLS ARRAY_PARTITION variable=lines complete dim=1
    #pragma HLS ARRAY_RESHAPE variable=lines complete dim=3
    static value_t taps[CONFIG_T::kernel_height][geometry::extent_width][CONFIG_T::n_chan];
    #pragma HLS ARRAY_PARTITION variable=taps complete dim=0

Rows:
    for (int row = 0; row < geometry::height; row++) {
    Cols:
        for (int col = 0; col < geometry::width; col++) {
            if (CONFIG_T::folds == 1) {
                #pragma HLS PIPELINE II=1
            }
            const bool real = row >= CONFIG_T::pad_top && row < CONFIG_T::pad_top + CONFIG_T::in_height &&
                              col >= CONFIG_T::pad_left && col < CONFIG_T::pad_left + CONFIG_T::in_width;
            data_T pixel;
            if (real) {
                pixel = data.read();
            } else {
            Padding:
                for (int c = 0; c < CONFIG_T::n_chan; c++) {
                    #pragma HLS UNROLL
                    pixel[c] = CONFIG_T::pad_value;
                }
            }

        Shift:
            for (int i = 0; i < CONFIG_T::kernel_height; i++) {
                #pragma HLS UNROLL
                for (int j = 0; j < geometry::extent_width; j++) {
                    #pragma HLS UNROLL
                    for (int c = 0; c < CONFIG_T::n_chan; c++) {
                        #pragma HLS UNROLL
                        if (j < geometry::extent_width - 1) {
                            taps[i][j][c] = taps[i][j + 1][c];
                        } else if (i < CONFIG_T::kernel_height - 1) {
                            taps[i][j][c] = lines[i * CONFIG_T::dilation_height][col][c];
                        } else {
                            taps[i][j][c] = pixel[c];
                        }
                    }
                }
            }
        Store:
            for (int line = 0; line < geometry::n_lines; line++) {
                #pragma HLS UNROLL
                for (int c = 0; c < CONFIG_T::n_chan; c++) {
                    #pragma HLS UNROLL
                    lines[line][col][c] = line < geometry::n_lines - 1 ? lines[line + 1][col][c] : pixel[c];
                }
            }

            const int top = row - (geometry::extent_height - 1);
            const int left = col - (geometry::extent_width - 1);
            if (top >= 0 && top % CONFIG_T::stride_height == 0 && left >= 0 && left % CONFIG_T::stride_width == 0) {
                value_t patch[geometry::n_patch];
                #pragma HLS ARRAY_PARTITION variable=patch complete
            Gather:
                for (int i = 0; i < CONFIG_T::kernel_height; i++) {
                    #pragma HLS UNROLL
                    for (int j = 0; j < CONFIG_T::kernel_width; j++) {
                        #pragma HLS UNROLL
                        for (int c = 0; c < CONFIG_T::n_chan; c++) {
                            #pragma HLS UNROLL
                            patch[(i * CONFIG_T::kernel_width + j) * CONFIG_T::n_chan + c] =
                                taps[i][j * CONFIG_T::dilation_width][c];
                        }
                    }
                }
                res_T out;
                PRAGMA_DATA_PACK(out)
                kernel_T::template apply<CONFIG_T>(patch, out, tables...);
                res.write(out);
            }
        }
    }
}

} // namespace nnet

#endif
