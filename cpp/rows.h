// What the solvers ask of the matrix S, and all they ask.
//
// A row store holds n rows of width N in whatever form: dense, on disk, factored. A new one is
// added by implementing this interface; no solver changes.
#pragma once

#include <algorithm>

#include "matrix.h"

namespace dprune {

class Rows {
 public:
  Rows() = default;
  Rows(const Rows&) = delete;
  Rows& operator=(const Rows&) = delete;
  virtual ~Rows() = default;

  virtual Index size() const = 0;   // n
  virtual Index width() const = 0;  // N
  // Whether rows are far cheaper to read in order than at random.
  virtual bool sequential() const { return false; }
  // Whether a row takes N numbers of memory, so that keeping it in eight bits too adds little.
  virtual bool explicit_in_memory() const { return false; }
  // Says that these rows will be asked for soon.
  virtual void prefetch(const Index* block, Index count) const {
    static_cast<void>(block);
    static_cast<void>(count);
  }

  // K[a * count + b] = <S_i, S_j> for i = block[a], j = block[b].
  virtual void gram(const Index* block, Index count, float* K) const = 0;

  // r[a] = <S_i, u> for i = block[a].
  virtual void dots(const Index* block, Index count, const float* u, float* r) const = 0;

  // u += sum_a signs[a] S_i, i = block[a].
  virtual void add(const Index* block, const float* signs, Index count, float* u) const = 0;

  // S_i itself, N numbers.
  void read(Index i, float* row) const {
    const float one = 1.0F;
    std::fill(row, row + width(), 0.0F);
    add(&i, &one, 1, row);
  }

  // The float64 sums behind every certificate: sums[labels[i]] += S_i over all rows with
  // labels[i] >= 0; sums is groups x N. The same bits for any number of threads.
  virtual void add_groups(const Index* labels, MatrixView<double> sums, int threads) const = 0;

  // q[i] = ||S_i||^2 in float64, all rows.
  virtual void squared_norms(double* q, int threads) const = 0;
};

}  // namespace dprune
