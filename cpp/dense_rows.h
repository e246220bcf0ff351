// Rows held as one dense matrix of float, Half or BFloat16, in memory.
#pragma once

#include "half.h"
#include "rows.h"

namespace dprune {

// The two float64 passes, for every type of number that S may be given in.
template <class T>
void add_groups(MatrixView<const T> S, const Index* labels, MatrixView<double> sums, int threads);
template <class T>
void squared_norms(MatrixView<const T> S, double* q, int threads);

template <class T>
class DenseRows : public Rows {
 public:
  explicit DenseRows(MatrixView<const T> S) : S_(S) {}

  Index size() const override { return S_.rows; }
  Index width() const override { return S_.cols; }
  bool explicit_in_memory() const override { return !this->sequential(); }
  void gram(const Index* block, Index count, float* K) const override;
  void dots(const Index* block, Index count, const float* u, float* r) const override;
  void add(const Index* block, const float* signs, Index count, float* u) const override;
  void add_groups(const Index* labels, MatrixView<double> sums, int threads) const override;
  void squared_norms(double* q, int threads) const override;

 protected:
  MatrixView<const T> S_;
};

}  // namespace dprune
