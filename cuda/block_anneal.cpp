#include "block_anneal.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>
#include <vector>

#include "cooling.h"
#include "swaps.h"
#include "tabu.h"

namespace dprune::cuda {
namespace {

// The schedule of cpp/block_anneal.cpp: a quick fall by this factor a sweep, until this share of
// the proposals is accepted, through this range and in this share of the sweeps at most; the slow
// fall ends this much above it.
constexpr double kFall = 0.6;
constexpr double kFrozen = 3e-4;
constexpr double kRange = 1e-8;
constexpr double kPilotShare = 0.5;
constexpr double kLift = 1.5;
constexpr Index kFewRows = 20;
// Resamplings in the slow fall.
constexpr int kResamplings = 32;
// The weight of a squared excess of a stratum, in units of the temperature.
constexpr double kStiffness = 0.5;
// Many strata are hardly ever on target all at once: in the last part of the slow fall the penalty
// grows by this factor.
constexpr double kStiffFrom = 0.8;
constexpr double kStiffest = 256.0;
// Chains: as many as keep a sweep's products below so many operations, one a multiprocessor at
// most, and whole tiles of a matrix product.
constexpr double kOperationsPerSweep = 5e12;
constexpr Index kMostChains = 128;
constexpr Index kChainTile = 32;
// Rows of a block: wide enough for matrix products.
constexpr Index kWidest = 256;
// Rows of each stratum that may bring it to its target.
constexpr Index kCandidates = 32;
// The exact end.
constexpr Index kLastRows = 512;
// Where all rows are one block a tabu search goes before it: some 50 ms.
constexpr std::int64_t kTabuSteps = 50'000;
constexpr Index kLeastSwaps = 256;
constexpr double kPasses = 16;

Index default_chains(const Problem& problem) {
  const double numbers =
      static_cast<double>(problem.size()) * static_cast<double>(problem.rows.width());
  const double most = kOperationsPerSweep / (4.0 * std::max(1.0, numbers));
  const auto chains = static_cast<Index>(std::min<double>(most, kMostChains));
  return std::max(kChainTile, chains / kChainTile * kChainTile);
}

}  // namespace

BlockAnnealer::BlockAnnealer(const Problem& problem, const ChainRows& rows, const Problem& walked,
                             const ChainRows& walked_rows, std::uint64_t seed, Index chains)
    : problem_(problem),
      rows_(rows),
      freezing_(freezing(walked)),
      blocks_(walked, std::numeric_limits<double>::infinity(), kWidest),
      population_(problem, rows, walked, walked_rows, blocks_,
                  chains > 0 ? chains : default_chains(problem)),
      seed_(seed) {}

Solution BlockAnnealer::solve(Index m, const Mask& start, const Effort& effort, double target,
                              Monitor& monitor) {
  const Index n = blocks_.free_rows();
  const auto planned = static_cast<double>(effort.sweeps) * static_cast<double>(n);
  Random random(seed_, ++solves_);
  Mask mask = start;
  repair(problem_, problem_.quotas.bounds(m), m, mask, random);
  population_.begin(m, std::move(mask));

  const auto norm = [&] { return problem_.change(std::sqrt(population_.best_energy()), m); };
  const auto reached = [&] { return population_.best_energy() <= target * target; };
  const auto over = [&] { return reached() || monitor.stop(); };
  monitor.record(norm(), m);
  const double started = monitor.seconds();
  double visited = 0.0;
  double counted = 0.0;
  const auto sweep = [&](double temperature, double stiffness) {
    const double kappa = stiffness * temperature;
    const auto done = population_.sweep(temperature, kappa, random, [&] { return monitor.stop(); });
    // A sweep that found nothing active counts as a whole one: the fall goes on.
    visited += static_cast<double>(done.rows > 0 ? done.rows : std::max<Index>(1, n));
    while (n > 0 && counted + static_cast<double>(n) <= visited) {
      counted += static_cast<double>(n);
      monitor.sweep_done(norm(), m);
    }
    return done;
  };

  const double hottest = problem_.size() <= kFewRows ? freezing_.largest : freezing_.hottest;
  const bool alike = freezing_.alike && blocks_.count() > 1;
  double coldest = hottest;
  while (!alike && n > 0 && !over() && visited < kPilotShare * planned &&
         coldest > kRange * hottest) {
    const auto done = sweep(coldest, kStiffness);
    // Two flips of a chain's sweep may be the multipliers' doing, at any temperature.
    if (static_cast<double>(done.accepted) <= 2.0 * static_cast<double>(population_.chains()) +
                                                  kFrozen * static_cast<double>(done.proposals)) {
      break;
    }
    coldest *= kFall;
  }
  const double from = alike ? std::min(hottest, kFrom * freezing_.likely) : hottest;
  const double to = alike ? kTo * freezing_.likely : std::min(hottest, kLift * coldest);
  const Cooling cooling(blocks_, from, to);
  const double quick = visited;
  const double quick_end = monitor.seconds();
  const auto stiffening = [&](double progress) {
    if (problem_.quotas.strata() == 1) return 1.0;
    return std::pow(kStiffest, std::max(0.0, progress - kStiffFrom) / (1.0 - kStiffFrom));
  };
  double resampled_at = from;
  int resamplings = 0;
  while (n > 0 && !over()) {
    const double by_work = (visited - quick) / std::max(1.0, planned - quick);
    const double by_clock =
        (monitor.seconds() - quick_end) / std::max(1e-9, started + effort.seconds - quick_end);
    if (by_clock > by_work) monitor.cut_short();
    const double progress = std::max(by_work, by_clock);
    if (progress >= 1.0) break;
    const double temperature = cooling.temperature(progress);
    if (progress * kResamplings > resamplings + 1) {
      population_.resample(1.0 / temperature - 1.0 / resampled_at, random);
      resampled_at = temperature;
      resamplings = static_cast<int>(progress * kResamplings);
    }
    sweep(temperature, kStiffness * stiffening(progress));
  }

  Mask settled = population_.last();
  settle(settled, m, random);
  const bool better = Subset(problem_, m, settled).energy() < population_.best_energy();
  Subset best(problem_, m, better ? std::move(settled) : population_.best());
  if (n > 1 && !over()) finish(visited, target * target, random, best, monitor);
  const double certified = certified_norm(problem_, best.mask());
  monitor.record(problem_.change(certified, m), m);
  return {best.mask(), certified};
}

// What flipping a free row would add to ||u||^2, by the row's number in S.
std::vector<float> BlockAnnealer::flip_costs(const Subset& subset) const {
  const Index* rows = blocks_.rows(0);
  const Index n = blocks_.free_rows();
  std::vector<float> r(static_cast<std::size_t>(n));
  rows_.dots(rows, n, subset.sum(), r.data());
  std::vector<float> cost(static_cast<std::size_t>(problem_.size()));
  for (Index a = 0; a < n; ++a) {
    const float change = subset.removed(rows[a]) ? -2.0F * r[a] : 2.0F * r[a];
    cost[rows[a]] = change + static_cast<float>(problem_.squared_norms[rows[a]]);
  }
  return cost;
}

// Brings a mask to its quotas: the cheapest flip of all the strata that are off, again and again,
// exactly, among the rows that were cheapest at the start.
void BlockAnnealer::settle(Mask& mask, Index m, Random& random) const {
  const Subset subset(problem_, m, mask);
  const Quotas& quotas = problem_.quotas;
  std::vector<Index> excess(static_cast<std::size_t>(quotas.strata()));
  Index off = 0;
  for (Index s = 0; s < quotas.strata(); ++s) off += (excess[s] = subset.excess(s)) != 0;
  if (off > 0) {
    const auto helps = [&](Index i) {
      const Index e = excess[quotas.stratum(i)];
      return mask[i] ? e > 0 : e < 0 && subset.admissible(i);
    };
    const auto all_costs = flip_costs(subset);
    std::vector<Index> order(blocks_.rows(0), blocks_.rows(0) + blocks_.free_rows());
    std::sort(order.begin(), order.end(), [&](Index a, Index b) {
      return all_costs[a] != all_costs[b] ? all_costs[a] < all_costs[b] : a < b;
    });
    const Index most = std::clamp<Index>(ChainRows::kWidest / off, 1, kCandidates);
    std::vector<Index> taken(excess.size(), 0);
    std::vector<Index> rows;
    for (const Index i : order) {
      if (helps(i) && taken[quotas.stratum(i)]++ < most) rows.push_back(i);
    }
    rows.resize(std::min<std::size_t>(rows.size(), ChainRows::kWidest));
    const auto count = static_cast<Index>(rows.size());
    std::vector<float> K(static_cast<std::size_t>(count * count));
    rows_.gram(rows.data(), count, K.data());
    std::vector<float> cost;
    for (const Index i : rows) cost.push_back(all_costs[i]);
    while (true) {
      Index next = -1;
      for (Index a = 0; a < count; ++a) {
        if (helps(rows[a]) && (next < 0 || cost[a] < cost[next])) next = a;
      }
      if (next < 0) break;
      // Who goes the same way pays 2 K more, who goes the other way 2 K less.
      const std::uint8_t way = mask[rows[next]];
      excess[quotas.stratum(rows[next])] += way ? -1 : 1;
      for (Index a = 0; a < count; ++a) {
        cost[a] += (mask[rows[a]] == way ? 2.0F : -2.0F) * K[next * count + a];
      }
      mask[rows[next]] ^= 1;
    }
  }
  // What is left: strata off by more than the candidates, caps exceeded by several flips.
  repair(problem_, quotas.bounds(m), m, mask, random);
}

void BlockAnnealer::finish(double visited, double target, Random& random, Subset& subset,
                           Monitor& monitor) const {
  const Index n = blocks_.free_rows();
  const bool whole = blocks_.count() == 1;
  std::vector<Index> rows(blocks_.rows(0), blocks_.rows(0) + n);
  if (!whole) {
    const auto cost = flip_costs(subset);
    const Index last = std::min(n, kLastRows);
    std::nth_element(rows.begin(), rows.begin() + last - 1, rows.end(), [&](Index a, Index b) {
      return cost[a] != cost[b] ? cost[a] < cost[b] : a < b;
    });
    rows.resize(static_cast<std::size_t>(last));
    std::sort(rows.begin(), rows.end());
  }
  const auto count = static_cast<Index>(rows.size());
  std::vector<float> K(static_cast<std::size_t>(count * count));
  rows_.gram(rows.data(), count, K.data());
  // A swap looks at all pairs; together they may cost as much as a chain's proposals did.
  const double pairs = static_cast<double>(count) * static_cast<double>(count) / 2.0;
  const auto most = std::max(kLeastSwaps, static_cast<Index>(std::ceil(kPasses * visited / pairs)));
  if (whole) {
    search_tabu(problem_, rows.data(), count, K.data(), kTabuSteps, target, subset, random,
                [&] { return monitor.stop(); });
  }
  search_swaps(problem_, rows.data(), count, K.data(), most, subset, monitor);
}

}  // namespace dprune::cuda
