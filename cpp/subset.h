// The state of a search at a fixed size: mask, group counts, running sum.
#pragma once

#include <vector>

#include "problem.h"
#include "rng.h"

namespace dprune {

// ||W^T (S - c Sbar)|| afresh in float64: the certificate.
double certified_norm(const Problem& problem, const Mask& mask);

// The subset nearest to `mask` (random where there is a choice) that removes m within the bounds
// and no protected sample. From an empty mask: a random subset.
void repair(const Problem& problem, const Bounds& bounds, Index m, Mask& mask, Random& random);

class Subset {
 public:
  Subset(const Problem& problem, Index m, Mask mask);

  const Mask& mask() const { return mask_; }
  bool removed(Index i) const { return mask_[i] != 0; }
  double energy() const { return energy_; }  // ||u||^2

  // u = sum_W S_i - c m Sbar. The offset is that of the target size m also while the walk is off
  // it: at the target the energy is exact.
  const float* sum() const { return u_.data(); }

  // Removed samples of a stratum beyond its target (negative: missing).
  Index excess(Index stratum) const { return excess_[stratum]; }
  // Sum of the squared excesses: 0 on target.
  Index violation() const { return violation_; }
  // Whether flipping sample i keeps its group below its cap.
  bool admissible(Index i) const {
    const Index g = problem_.quotas.labels()[i];
    return mask_[i] || problem_.quotas.proportional() || counts_[g] < bounds_.hi[g];
  }

  // Flips sample i, energy_change = ||u'||^2 - ||u||^2.
  void flip(Index i, double energy_change);
  // Recomputes u and the energy from the mask, in float64.
  void refresh();

 private:
  const Problem& problem_;
  Index m_;
  Bounds bounds_;
  Mask mask_;
  std::vector<Index> counts_;  // removed, by group
  std::vector<Index> excess_;  // removed beyond the target, by stratum
  Index violation_ = 0;
  std::vector<float> u_;
  double energy_ = 0.0;
};

}  // namespace dprune
