// Dense rows in a file that is mapped into memory, and may be larger than it.
//
// The operating system reads pages as they are touched and drops them when it needs the room:
// nothing is copied. What the store adds is order, neighbours in S share a block, and foresight,
// the next block is on its way from the disk while the present one is worked on.
#pragma once

#include "dense_rows.h"

namespace dprune {

template <class T>
class MappedRows final : public DenseRows<T> {
 public:
  using DenseRows<T>::DenseRows;

  bool sequential() const override { return true; }
  void prefetch(const Index* block, Index count) const override;
  void add_groups(const Index* labels, MatrixView<double> sums, int threads) const override;
  void squared_norms(double* q, int threads) const override;

 private:
  // Asks for rows first..last - 1.
  void fetch(Index first, Index last) const;
  // work(part, first row of it), part after part, the next one on its way.
  template <class Work>
  void in_parts(const Work& work) const;
};

}  // namespace dprune
