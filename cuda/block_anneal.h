// Block annealing for Eq. 4 by a population of chains: the twin of cpp/block_anneal.h.
//
// The same walk, schedule and exact end; where the CPU has one walk, or a few one after the other,
// here all chains see each block while it is loaded (population.h), and as the temperature falls
// those that do badly are replaced by copies of those that do well (resample.h). Where many strata
// kept chains off target, the lowest one is brought there by its cheapest flips. The end, an exact
// search among the cheapest rows (swaps.h), starts from the best subset met.
//
// The number of chains depends on the problem alone, and so does the answer of a run that ends by
// sweeps on one kind of machine: same seed, same subset.
#pragma once

#include <memory>
#include <optional>

#include "freezing.h"
#include "population.h"

namespace dprune::cuda {

class BlockAnnealer final : public FixedSizeSolver {
 public:
  // walked: the same problem with the rows in the metric that the walks go by, or `problem`.
  // chains: 0 chooses.
  BlockAnnealer(const Problem& problem, const ChainRows& rows, const Problem& walked,
                const ChainRows& walked_rows, std::uint64_t seed, Index chains);

  Solution solve(Index m, const Mask& start, const Effort& effort, double target,
                 Monitor& monitor) override;

 private:
  std::vector<float> flip_costs(const Subset& subset) const;
  void settle(Mask& mask, Index m, Random& random) const;
  void finish(double visited, double target, Random& random, Subset& subset,
              Monitor& monitor) const;

  const Problem& problem_;
  const ChainRows& rows_;
  Freezing freezing_;  // in the metric of the walk
  Blocks blocks_;
  Population population_;
  std::uint64_t seed_;
  std::uint64_t solves_ = 0;
};

}  // namespace dprune::cuda
