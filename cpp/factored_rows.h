// Rows that are outer products, S_i = b_i (x) a_i flattened with b's index slow: k + d numbers a
// row in place of k d.
//
//   <S_i, S_j> = <b_i, b_j> <a_i, a_j>        <S_i, u> = b_i^T U a_i,  u = U (k x d)
#pragma once

#include "rows.h"

namespace dprune {

class FactoredRows final : public Rows {
 public:
  FactoredRows(MatrixView<const float> b, MatrixView<const float> a) : b_(b), a_(a) {}

  Index size() const override { return b_.rows; }
  Index width() const override { return b_.cols * a_.cols; }
  void gram(const Index* block, Index count, float* K) const override;
  void dots(const Index* block, Index count, const float* u, float* r) const override;
  void add(const Index* block, const float* signs, Index count, float* u) const override;
  void add_groups(const Index* labels, MatrixView<double> sums, int threads) const override;
  void squared_norms(double* q, int threads) const override;

 private:
  MatrixView<const float> b_;
  MatrixView<const float> a_;
};

}  // namespace dprune
