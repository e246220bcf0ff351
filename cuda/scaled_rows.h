// Rows of a dense store with their columns scaled, S_i * scale: S is not copied
// (cpp/scaled_rows.h).
//
// <S_i scale, u> = <S_i, scale u>: inner products and sums cost a pass over the running sums beside
// those of the store below, which is what holds the rows that are loaded. A Gram matrix is made of
// the block's scaled rows.
#pragma once

#include <vector>

#include "dense_rows.h"

namespace dprune::cuda {

class ScaledRows final : public ChainRows {
 public:
  ScaledRows(const DenseRows& rows, const std::vector<float>& scale);

  Index size() const override { return rows_.size(); }
  Index width() const override { return rows_.width(); }
  void load(const Index* rows, Index count, Index first, bool consecutive) const override;
  void loaded_gram(float* K) const override;
  void loaded_dots(const float* U, Index chains, float* R) const override;
  void loaded_add(const float* signs, Index chains, float* U) const override;

  using ChainRows::dots;
  void dots(const double* v, double* out) const override;
  void squared_norms(double* q, int threads) const override;
  // Of the rows before they are scaled.
  void hashes(std::uint64_t* out) const override { rows_.hashes(out); }
  void sum_rows(const Index* order, const Index* begin, Index groups, const double* weights,
                bool square, double* sums) const override;

 private:
  const DenseRows& rows_;
  std::vector<float> scale_;
  Buffer<float> on_machine_;  // the scale
  mutable Buffer<float> work_;
};

}  // namespace dprune::cuda
