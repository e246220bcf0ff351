// First and second derivatives of the softmax cross-entropy of a linear head, sample by sample.
//
//   error      e_i = p_i - y_i,  p_i = softmax(logits_i)
//   gradient   g_i = e_i (x) [features_i, 1]          C (d + 1) numbers, class by class
//   curvature  w_i (diag p_i - p_i p_i^T)             C x C, the Hessian in the logits
#pragma once

#include "matrix.h"

namespace dprune {

// errors[i] = softmax(logits[i]) - onehot(labels[i]); errors may be logits.
template <class T>
void softmax_errors(MatrixView<const T> logits, const Index* labels, MatrixView<T> errors);

// gradients[i] = (probabilities[i] - onehot(labels[i])) (x) [features[i], 1]
template <class T>
void last_layer_gradients(MatrixView<const T> features, MatrixView<const T> probabilities,
                          const Index* labels, MatrixView<T> gradients, int threads);

// values[i] holds vectors of C logits, one after the other; each becomes
// w_i (diag p_i - p_i p_i^T) z. weights may be null: all one.
template <class T>
void softmax_curvature(MatrixView<const T> probabilities, const T* weights, MatrixView<T> values,
                       int threads);

}  // namespace dprune
