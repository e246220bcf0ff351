// Rows S_i = b_i (x) a_i held as their factors: n (k + d) numbers in place of n k d.
//
// Inner products factor, <S_i, S_j> = <b_i, b_j> <a_i, a_j>, and so do those with a running sum U
// (k x d): <S_i, U> = b_i^T U a_i, for a block of rows a matrix product U A^T and a dot product.
// What a block adds to U is a matrix product as well, B^T A.
#pragma once

#include "rows.h"

namespace dprune {

class FactoredRows final : public Rows {
 public:
  // b is n x k, a is n x d; b's index is the slow one of a row.
  FactoredRows(MatrixView<const float> b, MatrixView<const float> a);

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
