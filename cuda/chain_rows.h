// The matrix S on a machine, for many running sums at once.
//
// A walk's store (cpp/rows.h) answers for one running sum at a time in host memory; here a block of
// rows is loaded once, and then
//
//   gram   K = S_b S_b^T           dots   R = U S_b^T           add   U += signs S_b
//
// are matrix products over all chains: U is chains x N, R and signs are chains x b. The store is a
// Rows as well, through the same three, so that certificates and the exact end of a search
// (cpp/subset.h, cpp/swaps.h) work on it unchanged.
#pragma once

#include "machine.h"
#include "row_operations.h"
#include "rows.h"

namespace dprune::cuda {

class ChainRows : public Rows {
 public:
  // The most rows that load() takes.
  static constexpr Index kWidest = 2048;

  explicit ChainRows(Machine& machine);

  Machine& machine() const { return machine_; }

  // Takes rows of S, indices in the machine's memory. Where they are consecutive from `first` on
  // the matrix is read in place. What was loaded before is gone.
  virtual void load(const Index* rows, Index count, Index first, bool consecutive) const = 0;
  virtual void loaded_gram(float* K) const = 0;
  virtual void loaded_dots(const float* U, Index chains, float* R) const = 0;
  virtual void loaded_add(const float* signs, Index chains, float* U) const = 0;

  void gram(const Index* block, Index count, float* K) const override;
  void dots(const Index* block, Index count, const float* u, float* r) const override;
  void add(const Index* block, const float* signs, Index count, float* u) const override;
  void add_groups(const Index* labels, MatrixView<double> sums, int threads) const override;

  // The same for several running sums, host memory: U is chains x N.
  void dots_of_chains(const Index* block, Index count, const float* U, Index chains,
                      float* R) const;
  void add_of_chains(const Index* block, Index count, const float* signs, Index chains,
                     float* U) const;

  // Passes over all rows in float64, results on the host.
  virtual void dots(const double* v, double* out) const = 0;
  void weighted_sum(const double* weights, double* sum) const;
  void square_columns(double* sum) const;  // sum of the squares of each column
  virtual void hashes(std::uint64_t* out) const = 0;
  // sums[g] = sum of the rows order[begin[g]..begin[g + 1]], host memory; weights, in the machine's
  // memory, may be null.
  virtual void sum_rows(const Index* order, const Index* begin, Index groups, const double* weights,
                        bool square, double* sums) const = 0;

 private:
  void load_block(const Index* block, Index count) const;

  Machine& machine_;
  mutable Buffer<Index> rows_;
  mutable Buffer<float> sums_, values_, square_;
};

}  // namespace dprune::cuda
