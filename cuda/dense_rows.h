// Rows held as one dense matrix in float32 or bfloat16, in the machine's memory.
//
// Products with float32 rows run in float32. bfloat16 rows go through tensor cores and lose
// nothing: a running sum is split into three bfloat16 parts that hold all its bits, signs are exact
// in bfloat16, and products of two bfloat16 numbers are exact in float32.
#pragma once

#include "chain_rows.h"

namespace dprune::cuda {

class DenseRows final : public ChainRows {
 public:
  DenseRows(Machine& machine, const Matrix& S);

  Index size() const override { return S_.rows; }
  Index width() const override { return S_.cols; }
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

  // sum_j w_j S_ij^2 of all rows.
  void weighted_norms(const double* w, double* q) const;
  // The block of rows that is loaded.
  Matrix loaded() const { return {block_, S_.type, count_, S_.cols}; }

 private:
  void row_sums(const double* v, bool square, double* out) const;

  Matrix S_;
  mutable const void* block_ = nullptr;  // the rows loaded
  mutable Index count_ = 0;
  mutable Buffer<unsigned char> gathered_;
  mutable Buffer<Bfloat16> parts_;
  mutable Buffer<float> part_dots_;
};

}  // namespace dprune::cuda
