// How many samples may leave each group when m leave in all: class quotas, floors, protection.
#pragma once

#include <vector>

#include "matrix.h"

namespace dprune {

// Least and most removed, group by group.
struct Bounds {
  std::vector<Index> lo;
  std::vector<Index> hi;
};

// Two kinds of rule meet here. Under proportional quotas each group is a *stratum* whose count is
// prescribed; otherwise all samples are one stratum of m, and each group has a cap.

class Quotas {
 public:
  // labels in 0..G-1, one per sample; floors[g] samples of group g at least are kept, or all of a
  // smaller group. proportional: each group keeps its share of the n - m kept samples.
  Quotas(std::vector<Index> labels, std::vector<Index> floors, bool proportional);

  const std::vector<Index>& labels() const { return labels_; }
  Index groups() const { return static_cast<Index>(sizes_.size()); }
  Index most_removable() const;
  bool proportional() const { return proportional_; }
  Index strata() const { return proportional_ ? groups() : 1; }
  Index stratum(Index i) const { return proportional_ ? labels_[i] : 0; }

  // Throws std::invalid_argument where no subset of m samples keeps all floors.
  Bounds bounds(Index m) const;

 private:
  // Kept counts: largest remainder of sizes * kept / n, ties to the lower group, raised to the
  // floors, the rest shared out again among the groups that were not raised.
  std::vector<Index> apportion(Index kept) const;

  std::vector<Index> labels_;
  std::vector<Index> sizes_;
  std::vector<Index> floors_;
  bool proportional_;
};

}  // namespace dprune
