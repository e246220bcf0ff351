// The rows of another store with their columns scaled, S_i * scale: nothing is copied.
//
// <S_i scale, u> = <S_i, scale u>, so inner products and sums cost one pass over the scale beside
// those of the store below. A Gram matrix is made of the block's scaled rows.
#pragma once

#include <vector>

#include "rows.h"

namespace dprune {

class ScaledRows final : public Rows {
 public:
  ScaledRows(const Rows& rows, std::vector<float> scale);

  Index size() const override { return rows_.size(); }
  Index width() const override { return rows_.width(); }
  bool sequential() const override { return rows_.sequential(); }
  bool explicit_in_memory() const override { return rows_.explicit_in_memory(); }
  void prefetch(const Index* block, Index count) const override { rows_.prefetch(block, count); }
  void gram(const Index* block, Index count, float* K) const override;
  void dots(const Index* block, Index count, const float* u, float* r) const override;
  void add(const Index* block, const float* signs, Index count, float* u) const override;
  void add_groups(const Index* labels, MatrixView<double> sums, int threads) const override;
  void squared_norms(double* q, int threads) const override;

 private:
  // The scaled rows of a block, side by side.
  std::vector<float> gather(const Index* block, Index count) const;

  const Rows& rows_;
  std::vector<float> scale_;
};

}  // namespace dprune
