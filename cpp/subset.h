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
  Index target() const { return m_; }
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
  // Its two halves, for walks that write back the running sum of many flips at once: all but the
  // running sum, and the running sum (signs +1: now removed, -1: returned).
  void toggle(Index i, double energy_change);
  void add(const Index* rows, const float* signs, Index count);
  // Takes the energy from the running sum as it is, where flips were toggled without their change.
  void measure();
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

// The best subset on target that a walk has met. Keeping it costs O(flips since the last one).
class Incumbent {
 public:
  explicit Incumbent(const Subset& start) : mask_(start.mask()), energy_(start.energy()) {}

  const Mask& mask() const { return mask_; }
  double energy() const { return energy_; }
  double norm() const;

  // To be told of every flip, and then offered the subset.
  void note_flip(Index i) {
    if (flips_.size() < mask_.size()) flips_.push_back(i);
  }
  // Whether the subset is on target and better, and so was taken. Energies within the slack are
  // computed afresh before they are compared.
  bool offer(Subset& subset, double slack = 0.0) {
    if (subset.violation() != 0 || subset.energy() >= energy_ + slack) return false;
    if (slack > 0.0) subset.refresh();
    if (subset.energy() >= energy_) return false;
    take(subset);
    return true;
  }
  // Becomes a subset of another origin, if that is better.
  void replace(const Subset& other) {
    if (other.violation() != 0 || other.energy() >= energy_) return;
    mask_ = other.mask();
    energy_ = other.energy();
    flips_.clear();
  }

 private:
  void take(const Subset& subset);

  Mask mask_;
  double energy_;
  std::vector<Index> flips_;  // since mask_
};

}  // namespace dprune
