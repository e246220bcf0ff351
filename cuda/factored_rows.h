// Rows S_i = b_i (x) a_i held as their factors, float32, in the machine's memory.
//
// With U_c the running sum of chain c as a matrix, k x d, and a block of rows a_b, b_b:
//
//   gram   K = (a_b a_b^T) . (b_b b_b^T)
//   dots   P = U a_b^T, one product over all rows of all U_c; R[c][i] = sum_p P[c][p][i] b[i][p]
//   add    T[c][p][i] = signs[c][i] b[i][p];  U += T a_b, again one product
#pragma once

#include "chain_rows.h"

namespace dprune::cuda {

class FactoredRows final : public ChainRows {
 public:
  // b is n x k, a is n x d, both float32; b's index is the slow one of a row.
  FactoredRows(Machine& machine, const Matrix& b, const Matrix& a);

  Index size() const override { return b_.rows; }
  Index width() const override { return b_.cols * a_.cols; }
  void load(const Index* rows, Index count, Index first, bool consecutive) const override;
  void loaded_gram(float* K) const override;
  void loaded_dots(const float* U, Index chains, float* R) const override;
  void loaded_add(const float* signs, Index chains, float* U) const override;

  using ChainRows::dots;
  void dots(const double* v, double* out) const override;
  void squared_norms(double* q, int threads) const override;
  void hashes(std::uint64_t* out) const override;
  void sum_rows(const Index* order, const Index* begin, Index groups, const double* weights,
                bool square, double* sums) const override;

 private:
  Matrix b_, a_;
  mutable const float* block_a_ = nullptr;  // the rows loaded
  mutable const float* block_b_ = nullptr;
  mutable Index count_ = 0;
  mutable Buffer<float> gathered_a_, gathered_b_, work_;
};

}  // namespace dprune::cuda
