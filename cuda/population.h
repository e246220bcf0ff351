// Many chains of block annealing at once: their state in a machine's memory, a sweep of all of
// them, resampling.
//
// A block of rows is loaded once for all chains: its Gram matrix is computed at the first visit and
// kept where memory allows, dots and net flips are one matrix product each (chain_rows.h), and
// between them every chain walks over the block (walk.h). Where the walk goes by another metric
// than the problem's (python/dprune/metric.py), the chains' sums are kept in both: those of the
// problem tell at the end of a sweep which subset is the best one.
#pragma once

#include <functional>
#include <vector>

#include "blocks.h"
#include "chain_rows.h"
#include "subset.h"
#include "walk.h"

namespace dprune::cuda {

class Population {
 public:
  // walked: the problem in the metric of the walk, or `problem`, and its rows. blocks: its free
  // rows in blocks; their own Gram matrices are not used.
  Population(const Problem& problem, const ChainRows& rows, const Problem& walked,
             const ChainRows& walked_rows, const Blocks& blocks, Index chains);

  Index chains() const { return chains_.count; }

  // Puts all chains at one subset of target size m.
  void begin(Index m, Mask mask);

  struct Sweep {
    Index rows = 0;              // visited by each chain
    std::int64_t proposals = 0;  // of all chains
    std::int64_t accepted = 0;
  };
  // One visit of all chains to every block that is active at this temperature, in random order.
  // kappa: the weight of a squared excess of a stratum.
  Sweep sweep(double temperature, double kappa, Random& random, const std::function<bool()>& stop);
  // After the inverse temperature has grown by this much.
  void resample(double beta_step, Random& random);

  // Of the best subset on target that any chain has met.
  double best_energy() const;
  Mask best() const;
  // Of the chain that ended lowest, penalty included, on target or not.
  Mask last() const;

 private:
  std::vector<double> penalised(std::vector<double> energies) const;
  Mask mask_of(const std::uint8_t* masks, Index chain) const;
  void visit(Index block, double temperature, std::uint64_t draw);
  const float* gram(Index block);

  const Problem& problem_;
  const ChainRows& rows_;
  const Problem& walked_;
  const ChainRows& walked_rows_;
  const Blocks& blocks_;
  Machine& machine_;
  double kappa_ = 0.0;  // of the last sweep

  Buffer<Index> free_;  // the rows of all blocks
  std::vector<bool> consecutive_;
  Buffer<Index> labels_, caps_;
  Buffer<std::uint8_t> mask_, best_mask_;
  Buffer<float> u_, judged_;
  Buffer<double> mu_, energy_, judged_energy_, best_energy_;
  Buffer<Index> excess_, counts_, violation_, accepted_, parents_;
  Buffer<float> dots_, flips_;
  bool kept_;  // memory suffices for all Gram matrices
  Buffer<float> grams_;
  std::vector<bool> known_;
  Chains chains_;

  // On the host, as of the last sweep.
  std::vector<double> energies_, judged_energies_, best_energies_;
  std::vector<Index> accepted_flips_, violations_;
};

}  // namespace dprune::cuda
