// Plain simulated annealing for Eq. 4, one row of S read per proposal: O(N) per flip.
//
// The walk flips single samples under the augmented Lagrangian
//
//   F(W) = ||W^T S - c m Sbar||^2 + sum_s (mu_s e_s + kappa e_s^2)
//
// with e_s the number removed from stratum s beyond its quota, and remembers the lowest first term
// seen with all e_s = 0. Flipping sample i, with s = +1 when it is to be removed and -1 when it
// returns, changes that term by 2 s <S_i, u> + ||S_i||^2. The multipliers mu follow the excess
// from sweep to sweep: without them, rows with a common part (c < 1, classes) would hold the walk
// off its quotas.
//
// It is the reference that faster solvers are measured against and tested with.
#pragma once

#include "problem.h"
#include "rng.h"
#include "subset.h"

namespace dprune {

class Annealer final : public FixedSizeSolver {
 public:
  Annealer(const Problem& problem, std::uint64_t seed);

  Solution solve(Index m, const Mask& start, const Effort& effort, double target,
                 Monitor& monitor) override;

 private:
  // One pass over the unprotected rows; returns the mean probability of acceptance.
  double sweep(Subset& subset, double temperature, double target, Incumbent& best,
               Monitor& monitor);

  const Problem& problem_;
  std::vector<Index> free_;  // the rows that may be removed
  std::vector<double> stratum_sizes_;
  std::vector<double> mu_;  // by stratum
  double hottest_;
  // Among few rows the best energies are decided in float64: those that float32 cannot tell apart.
  double slack_;
  Index proposals_per_poll_;
  std::uint64_t seed_;
  std::uint64_t solves_ = 0;
  Random random_;
};

}  // namespace dprune
