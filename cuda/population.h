// Many chains of block annealing at once: their state in a machine's memory, a sweep of all of
// them, resampling.
//
// A block of rows is loaded once for all chains: its Gram matrix is computed at the first visit and
// kept where memory allows, dots and net flips are one matrix product each (chain_rows.h), and
// between them every chain walks over the block (walk.h).
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
  // blocks: the free rows in blocks; its own Gram matrices are not used.
  Population(const Problem& problem, const ChainRows& rows, const Blocks& blocks, Index chains);

  Index chains() const { return chains_.count; }

  // Puts all chains at one subset.
  void begin(const Subset& subset);

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

  // Of the best subset on target that any chain has met, as the walks count it.
  double best_energy() const;
  Mask best() const;
  // Of the chain that ended lowest, penalty included, on target or not.
  Mask last() const;

 private:
  std::vector<double> penalised() const;
  Mask mask_of(const std::uint8_t* masks, Index chain) const;
  void visit(Index block, double temperature, std::uint64_t draw);
  const float* gram(Index block);

  const Problem& problem_;
  const ChainRows& rows_;
  const Blocks& blocks_;
  Machine& machine_;
  double kappa_ = 0.0;  // of the last sweep

  Buffer<Index> free_;  // the rows of all blocks
  std::vector<bool> consecutive_;
  Buffer<Index> labels_, caps_;
  Buffer<std::uint8_t> mask_, best_mask_;
  Buffer<float> u_;
  Buffer<double> mu_, energy_, best_energy_;
  Buffer<Index> excess_, counts_, violation_, accepted_, parents_;
  Buffer<float> dots_, flips_;
  bool kept_;  // memory suffices for all Gram matrices
  Buffer<float> grams_;
  std::vector<bool> known_;
  Chains chains_;

  // On the host, as of the last sweep.
  std::vector<double> energies_, best_energies_;
  std::vector<Index> accepted_flips_, violations_;
};

}  // namespace dprune::cuda
