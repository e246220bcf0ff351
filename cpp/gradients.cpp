#include "gradients.h"

#include <algorithm>
#include <cmath>

#include "parallel.h"

namespace dprune {

template <class T>
void softmax_errors(MatrixView<const T> logits, const Index* labels, MatrixView<T> errors) {
  const Index classes = logits.cols;
  for (Index i = 0; i < logits.rows; ++i) {
    const T* z = logits.row(i);
    T* e = errors.row(i);
    // Shifted by the largest logit: no exponential overflows.
    const T top = *std::max_element(z, z + classes);
    T total = 0;
    for (Index c = 0; c < classes; ++c) total += (e[c] = std::exp(z[c] - top));
    for (Index c = 0; c < classes; ++c) e[c] /= total;
    // p_y - 1 as minus the sum of the others: keeps its digits where the head is sure.
    T others = 0;
    for (Index c = 0; c < classes; ++c) others += c == labels[i] ? 0 : e[c];
    e[labels[i]] = -others;
  }
}

template <class T>
void last_layer_gradients(MatrixView<const T> features, MatrixView<const T> probabilities,
                          const Index* labels, MatrixView<T> gradients, int threads) {
  const Index d = features.cols;
  const Index classes = probabilities.cols;
  parallel_ranges(features.rows, threads, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const T* h = features.row(i);
      T* g = gradients.row(i);
      for (Index c = 0; c < classes; ++c, g += d + 1) {
        const T error = probabilities.row(i)[c] - static_cast<T>(c == labels[i]);
        for (Index j = 0; j < d; ++j) g[j] = error * h[j];
        g[d] = error;
      }
    }
  });
}

template <class T>
void softmax_curvature(MatrixView<const T> probabilities, const T* weights, MatrixView<T> values,
                       int threads) {
  const Index classes = probabilities.cols;
  parallel_ranges(values.rows, threads, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      const T* p = probabilities.row(i);
      const T w = weights ? weights[i] : T{1};
      T* z = values.row(i);
      for (Index v = 0; v < values.cols; v += classes, z += classes) {
        T mean = 0;
        for (Index c = 0; c < classes; ++c) mean += p[c] * z[c];
        for (Index c = 0; c < classes; ++c) z[c] = w * p[c] * (z[c] - mean);
      }
    }
  });
}

template void softmax_errors(MatrixView<const float>, const Index*, MatrixView<float>);
template void softmax_errors(MatrixView<const double>, const Index*, MatrixView<double>);
template void softmax_curvature(MatrixView<const float>, const float*, MatrixView<float>, int);
template void softmax_curvature(MatrixView<const double>, const double*, MatrixView<double>, int);
template void last_layer_gradients(MatrixView<const float>, MatrixView<const float>, const Index*,
                                   MatrixView<float>, int);
template void last_layer_gradients(MatrixView<const double>, MatrixView<const double>, const Index*,
                                   MatrixView<double>, int);

}  // namespace dprune
