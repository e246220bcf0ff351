// First and second derivatives of the softmax cross-entropy of a linear head, sample by sample:
// the operations behind cpp/gradients.h.
//
//   error      e_i = p_i - y_i,  p_i = softmax(logits_i)         a team a sample
//   gradient   g_i = e_i (x) [features_i, 1]                     a team a sample, row by row
//   rows       S_i = b_i (x) a_i                                 the same
//   curvature  w_i (diag p_i - p_i p_i^T)                        a team a sample
//
// All are bound by memory: each number is read once and written once.
#pragma once

#include <cmath>

#include "machine.h"

namespace dprune::cuda {

// errors[i] = softmax(logits[i]) - onehot(labels[i]), float32; errors may be logits.
struct SoftmaxErrors {
  const float* logits;
  const Index* labels;
  float* errors;
  Index n, classes;

  Index teams() const { return n; }
  std::size_t scratch() const { return 0; }

  template <class Team>
  DPRUNE_HD void operator()(const Team& team, Index i) const {
    const float* z = logits + i * classes;
    float* e = errors + i * classes;
    // Shifted by the largest logit: no exponential overflows.
    float top = z[0];
    for (Index c = 1; c < classes; ++c) top = z[c] > top ? z[c] : top;
    team.sync();
    const Index label = labels[i];
    double others = 0.0;
    double own = 0.0;
    for (Index c = team.lane(); c < classes; c += team.lanes()) {
      e[c] = expf(z[c] - top);
      (c == label ? own : others) += static_cast<double>(e[c]);
    }
    others = team.sum(others);
    const double total = others + team.sum(own);
    // p_y - 1 as minus the sum of the others: keeps its digits where the head is sure.
    for (Index c = team.lane(); c < classes; c += team.lanes()) {
      e[c] = c == label ? static_cast<float>(-others / total)
                        : static_cast<float>(static_cast<double>(e[c]) / total);
    }
  }
};

// out[i] = (b[i] - onehot(labels[i])) (x) [a[i], 1]; without labels b[i], without bias a[i].
struct OuterRows {
  const void* b;  // n x k
  const void* a;  // n x d
  Type type;      // of b and a
  const Index* labels;
  bool bias;
  void* out;  // n x k (d + bias)
  Type out_type;
  Index n, k, d;

  Index teams() const { return n; }
  std::size_t scratch() const { return 0; }

  template <class Team>
  DPRUNE_HD void operator()(const Team& team, Index i) const {
    if (type == Type::kBfloat16) {
      from<Bfloat16>(team, i);
    } else {
      from<float>(team, i);
    }
  }

 private:
  template <class In, class Team>
  DPRUNE_HD void from(const Team& team, Index i) const {
    if (out_type == Type::kBfloat16) {
      row<In, Bfloat16>(team, i);
    } else {
      row<In, float>(team, i);
    }
  }
  template <class In, class Out, class Team>
  DPRUNE_HD void row(const Team& team, Index i) const {
    const In* x = static_cast<const In*>(a) + i * d;
    const In* y = static_cast<const In*>(b) + i * k;
    const Index label = labels ? labels[i] : -1;
    const auto width = static_cast<std::uint32_t>(d + (bias ? 1 : 0));
    const auto size = static_cast<std::uint32_t>(k) * width;
    Out* to = static_cast<Out*>(out) + i * static_cast<Index>(size);
    // One run over the whole row: lanes stay on consecutive addresses from class to class.
    for (auto at = static_cast<std::uint32_t>(team.lane()); at < size;
         at += static_cast<std::uint32_t>(team.lanes())) {
      const std::uint32_t c = at / width;
      const std::uint32_t j = at - c * width;
      const float factor = to_float(y[c]) - (static_cast<Index>(c) == label ? 1.0F : 0.0F);
      store(j < d ? factor * to_float(x[j]) : factor, to[at]);
    }
  }
};

// values[i] holds `vectors` vectors of C logits, one after the other; each becomes
// w_i (diag p_i - p_i p_i^T) z. Lanes take whole vectors.
template <class T>
struct Curvature {
  const T* probabilities;
  const T* weights;  // or null: all one
  T* values;
  Index n, classes, vectors;

  Index teams() const { return n; }
  std::size_t scratch() const { return 0; }

  template <class Team>
  DPRUNE_HD void operator()(const Team& team, Index i) const {
    const T* p = probabilities + i * classes;
    const T w = weights ? weights[i] : T{1};
    for (Index v = team.lane(); v < vectors; v += team.lanes()) {
      T* z = values + (i * vectors + v) * classes;
      T mean = 0;
      for (Index c = 0; c < classes; ++c) mean += p[c] * z[c];
      for (Index c = 0; c < classes; ++c) z[c] = w * p[c] * (z[c] - mean);
    }
  }
};
struct SoftmaxCurvature : Curvature<float> {};
struct SoftmaxCurvatureDouble : Curvature<double> {};

}  // namespace dprune::cuda
