// Block annealing for Eq. 4: the walk of anneal.h at O(1) a proposal instead of O(N).
//
// Reading rows is the whole cost of annealing, so rows are loaded b at a time. For a block with
// rows S_b the walk keeps, besides the running sum u, what its proposals need and no more:
//
//   K = S_b S_b^T        the Gram matrix, computed once and kept from sweep to sweep
//   r = S_b u            computed at each visit, b inner products
//
// Flipping sample i of the block (s = +1: to be removed, -1: to return) changes ||u||^2 by
// 2 s r_i + K_ii, a number at hand; when the flip is accepted, r += s K_i, O(b). A visit makes
// several passes over its block and then adds its net flips to u.
//
// Sizes and quotas: the penalty kappa e_s^2 of a stratum s with excess e_s, and its multiplier
// T mu_s, as in anneal.h; an accepted flip shifts the fields of its stratum by 2 s kappa. Group
// caps are looked at when a flip is accepted.
//
// The metric: the walk may go by u^T M u in place of ||u||^2. It freezes at a temperature in
// proportion to tr(M C), C the rows' covariance, and leaves u with covariance (T/2) M^-1, so that
// ||u||^2 ends near tr(M^-1) tr(M C), which M = C^(-1/2) makes least (python/dprune/metric.py). The
// rows in that metric come as a second problem; subsets are judged in the first.
//
// Temperature (cooling.h, freezing.h): where rows are alike it is known where the walk freezes;
// else a quick fall finds out. One slow fall follows, and an exact search for the best swap ends it
// (swaps.h). Small problems, where a walk can get stuck, are walked several times, in parallel; the
// best of these walks goes on as a tabu search (tabu.h), and among a few dozen rows all subsets
// that may be better are looked at (exact.h).
//
// Reading: a walk that accepts little reads the rows in eight bits and looks exactly only at those
// that may flip (coarse_rows.h).
#pragma once

#include <memory>
#include <vector>

#include "blocks.h"
#include "freezing.h"
#include "problem.h"
#include "rng.h"
#include "subset.h"

namespace dprune {

class BlockAnnealer final : public FixedSizeSolver {
 public:
  // metric: the same problem with the rows in the metric that the walk goes by, or `problem`.
  BlockAnnealer(const Problem& problem, const Problem& metric, std::uint64_t seed, int threads,
                double seconds);

  Solution solve(Index m, const Mask& start, const Effort& effort, double target,
                 Monitor& monitor) override;

 private:
  class Walk;

  // What follows the walks: a tabu search where there is one block, and an exact one for the best
  // swaps among the rows that are cheapest to flip.
  void finish(const Effort& effort, double end, double target, Random& random, Subset& subset,
              Monitor& monitor);
  std::vector<Index> cheapest(const Subset& subset, Index most) const;

  const Problem& problem_;
  const Problem& metric_;
  Freezing freezing_;
  Blocks blocks_;
  std::uint64_t seed_;
  int threads_;
  std::uint64_t solves_ = 0;
};

}  // namespace dprune
