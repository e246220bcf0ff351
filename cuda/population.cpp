#include "population.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "cooling.h"
#include "resample.h"

namespace dprune::cuda {
namespace {

// Passes over a block at one visit; fewer where so many flips were accepted, per row.
constexpr int kPasses = 16;
constexpr double kFlipsPerVisit = 0.3;
// Visits issued before the host looks up: the time of a few milliseconds.
constexpr Index kVisitsPerLook = 64;
// Gram matrices are kept if they take no more than this share of the free memory.
constexpr double kGramShare = 0.5;
constexpr Index kWord = 8;

}  // namespace

Population::Population(const Problem& problem, const ChainRows& rows, const Problem& walked,
                       const ChainRows& walked_rows, const Blocks& blocks, Index chains)
    : problem_(problem),
      rows_(rows),
      walked_(walked),
      walked_rows_(walked_rows),
      blocks_(blocks),
      machine_(rows.machine()),
      free_(machine_, "row numbers"),
      labels_(machine_, "group labels"),
      caps_(machine_, "group caps"),
      mask_(machine_, "the chains' masks"),
      best_mask_(machine_, "the chains' best masks"),
      u_(machine_, "the chains' running sums"),
      judged_(machine_, "the chains' running sums"),
      mu_(machine_, "the chains' multipliers"),
      energy_(machine_, "the chains' energies"),
      judged_energy_(machine_, "the chains' energies"),
      best_energy_(machine_, "the chains' best energies"),
      excess_(machine_, "the chains' counts"),
      counts_(machine_, "the chains' counts"),
      violation_(machine_, "the chains' counts"),
      accepted_(machine_, "the chains' counts"),
      parents_(machine_, "the chains' parents"),
      dots_(machine_, "inner products of a block"),
      flips_(machine_, "flips of a block"),
      kept_(false),
      grams_(machine_, "Gram matrices"),
      known_(static_cast<std::size_t>(blocks.count()), false),
      energies_(static_cast<std::size_t>(chains)),
      judged_energies_(static_cast<std::size_t>(chains)),
      best_energies_(static_cast<std::size_t>(chains)),
      accepted_flips_(static_cast<std::size_t>(chains)),
      violations_(static_cast<std::size_t>(chains)) {
  const Quotas& quotas = problem.quotas;
  const Index n = problem.size();
  const Index N = rows.width();
  const Index stride = ceil_div(n, kWord) * kWord;
  free_.write(blocks.rows(0), blocks.free_rows());
  for (Index block = 0; block < blocks.count(); ++block) {
    const Index* row = blocks.rows(block);
    bool consecutive = true;
    for (Index a = 1; a < blocks.size(block); ++a) consecutive &= row[a] == row[0] + a;
    consecutive_.push_back(consecutive);
  }
  chains_.count = chains;
  chains_.n = n;
  chains_.stride = stride;
  chains_.width = N;
  chains_.strata = quotas.strata();
  chains_.groups = quotas.groups();
  chains_.proportional = quotas.proportional();
  chains_.labels = labels_.write(quotas.labels().data(), n);
  chains_.caps = caps_.reserve(quotas.groups());
  chains_.mask = mask_.reserve(chains * stride);
  chains_.u = u_.reserve(chains * N);
  chains_.judged = &walked == &problem ? chains_.u : judged_.reserve(chains * N);
  chains_.mu = mu_.reserve(chains * quotas.strata());
  chains_.excess = excess_.reserve(chains * quotas.strata());
  chains_.counts = counts_.reserve(chains * quotas.groups());
  chains_.violation = violation_.reserve(chains);
  chains_.energy = energy_.reserve(chains);
  chains_.judged_energy = judged_energy_.reserve(chains);
  chains_.accepted = accepted_.reserve(chains);
  chains_.best = best_mask_.reserve(chains * stride);
  chains_.best_energy = best_energy_.reserve(chains);
  dots_.reserve(chains * blocks.width());
  flips_.reserve(chains * blocks.width());
  const Index all = blocks.free_rows() * blocks.width();
  kept_ = static_cast<double>(all) * sizeof(float) <=
          kGramShare * static_cast<double>(machine_.free_bytes());
  grams_.reserve(kept_ ? all : blocks.width() * blocks.width());
}

void Population::begin(Index m, Mask mask) {
  const Quotas& quotas = problem_.quotas;
  const Subset subset(walked_, m, mask);
  if (!chains_.one_metric()) judged_.write(Subset(problem_, m, mask).sum(), chains_.width);
  mask.resize(static_cast<std::size_t>(chains_.stride), 0);
  std::vector<Index> excess(static_cast<std::size_t>(chains_.strata));
  for (Index s = 0; s < chains_.strata; ++s) excess[s] = subset.excess(s);
  std::vector<Index> counts(static_cast<std::size_t>(chains_.groups), 0);
  for (Index i = 0; i < problem_.size(); ++i) counts[quotas.labels()[i]] += mask[i];
  const Index violation = subset.violation();
  const double energy = subset.energy();
  caps_.write(quotas.bounds(subset.target()).hi.data(), chains_.groups);

  // The first chain from the host, the others as its copies.
  mask_.write(mask.data(), chains_.stride);
  u_.write(subset.sum(), chains_.width);
  mu_.zeros(chains_.strata);
  excess_.write(excess.data(), chains_.strata);
  counts_.write(counts.data(), chains_.groups);
  violation_.write(&violation, 1);
  energy_.write(&energy, 1);
  const std::vector<Index> first(static_cast<std::size_t>(chains_.count), 0);
  machine_.run(CopyChains{chains_, parents_.write(first.data(), chains_.count)});
  // Each has that subset for its best where it is on target.
  std::fill(best_energies_.begin(), best_energies_.end(), 1e300);
  best_energy_.write(best_energies_.data(), chains_.count);
  best_mask_.zeros(chains_.count * chains_.stride);
  machine_.run(Measure{chains_});
  best_energy_.read(best_energies_.data(), chains_.count);
}

Population::Sweep Population::sweep(double temperature, double kappa, Random& random,
                                    const std::function<bool()>& stop) {
  kappa_ = kappa;
  std::vector<Index> order;
  for (Index block = 0; block < blocks_.count(); ++block) {
    if (active(blocks_, block, temperature)) order.push_back(block);
  }
  for (Index k = static_cast<Index>(order.size()) - 1; k > 0; --k) {
    std::swap(order[k], order[random.below(k + 1)]);
  }
  Sweep sweep;
  accepted_.zeros(chains_.count);
  Index visits = 0;
  for (const Index block : order) {
    if (++visits % kVisitsPerLook == 0) {
      machine_.wait();
      if (stop()) break;
    }
    visit(block, temperature, random.bits());
    sweep.rows += blocks_.size(block);
  }
  machine_.run(Measure{chains_});
  energy_.read(energies_.data(), chains_.count);
  judged_energy_.read(judged_energies_.data(), chains_.count);
  best_energy_.read(best_energies_.data(), chains_.count);
  accepted_.read(accepted_flips_.data(), chains_.count);
  violation_.read(violations_.data(), chains_.count);
  sweep.accepted = std::accumulate(accepted_flips_.begin(), accepted_flips_.end(), std::int64_t{0});
  sweep.proposals = sweep.rows * kPasses * chains_.count;
  return sweep;
}

void Population::visit(Index block, double temperature, std::uint64_t draw) {
  const Index* row = free_.data() + (blocks_.rows(block) - blocks_.rows(0));
  const Index size = blocks_.size(block);
  const Index first = blocks_.rows(block)[0];
  walked_rows_.load(row, size, first, consecutive_[block]);
  const float* K = gram(block);
  walked_rows_.loaded_dots(chains_.u, chains_.count, dots_.data());
  machine_.run(
      Walk{chains_, row, size, K, dots_.data(), flips_.data(), static_cast<float>(temperature),
           kappa_, static_cast<double>(size) / static_cast<double>(blocks_.free_rows()), kPasses,
           static_cast<Index>(std::ceil(kFlipsPerVisit * static_cast<double>(size))), draw});
  walked_rows_.loaded_add(flips_.data(), chains_.count, chains_.u);
  if (chains_.one_metric()) return;
  rows_.load(row, size, first, consecutive_[block]);
  rows_.loaded_add(flips_.data(), chains_.count, chains_.judged);
}

const float* Population::gram(Index block) {
  float* K = grams_.data() + (kept_ ? block * blocks_.width() * blocks_.width() : 0);
  if (kept_ && known_[block]) return K;
  known_[block] = true;
  walked_rows_.loaded_gram(K);
  return K;
}

// A chain off target is worth what the penalty says.
std::vector<double> Population::penalised(std::vector<double> energies) const {
  for (std::size_t c = 0; c < energies.size(); ++c) {
    energies[c] += kappa_ * static_cast<double>(violations_[c]);
  }
  return energies;
}

void Population::resample(double beta_step, Random& random) {
  const auto parents =
      cuda::resample(penalised(energies_), beta_step, static_cast<double>(random.uniform()));
  machine_.run(CopyChains{chains_, parents_.write(parents.data(), chains_.count)});
}

double Population::best_energy() const {
  return *std::min_element(best_energies_.begin(), best_energies_.end());
}

Mask Population::best() const {
  const auto chain = std::min_element(best_energies_.begin(), best_energies_.end());
  return mask_of(chains_.best, chain - best_energies_.begin());
}

Mask Population::last() const {
  const auto energies = penalised(judged_energies_);
  const auto chain = std::min_element(energies.begin(), energies.end());
  return mask_of(chains_.mask, chain - energies.begin());
}

Mask Population::mask_of(const std::uint8_t* masks, Index chain) const {
  Mask mask(static_cast<std::size_t>(problem_.size()));
  machine_.read(mask.data(), masks + chain * chains_.stride, mask.size());
  return mask;
}

}  // namespace dprune::cuda
