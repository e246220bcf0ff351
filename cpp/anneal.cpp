#include "anneal.h"

#include <algorithm>
#include <cmath>

#include "denormals.h"

namespace dprune {
namespace {

// The quick fall that looks for the freezing point: temperature from sweep to sweep, the acceptance
// at which the walk counts as frozen, and how deep, for what share of the budget, it may go.
constexpr double kFall = 0.6;
constexpr double kFrozen = 1e-3;
constexpr double kFewFrozen = 3e-6;  // among few rows single flips decide
constexpr double kRange = 1e-8;
constexpr double kQuickShare = 0.2;
// The weight of a squared excess of a stratum, in units of the temperature: the count then strays
// from its quota by a few.
constexpr double kStiffness = 0.1;
// Rounding errors of the float32 running sum are wiped out this often.
constexpr std::int64_t kSweepsPerRefresh = 64;
// Small problems are annealed several times: proposals are cheap and a single run can get stuck.
constexpr Index kRestartRows = 2048;
constexpr Index kMostRestarts = 16;
// About the numbers of S read between two looks at the clock: some 20 microseconds.
constexpr Index kNumbersPerPoll = 1 << 17;

}  // namespace

Annealer::Annealer(const Problem& problem, std::uint64_t seed)
    : problem_(problem),
      stratum_sizes_(problem.quotas.strata(), 0.0),
      mu_(problem.quotas.strata(), 0.0),
      seed_(seed),
      random_(seed, 0) {
  double total = 0.0;
  double largest = 0.0;
  for (Index i = 0; i < problem.size(); ++i) {
    if (problem.protect[i]) continue;
    free_.push_back(i);
    stratum_sizes_[problem.quotas.stratum(i)] += 1.0;
    total += problem.squared_norms[i];
    largest = std::max(largest, problem.squared_norms[i]);
  }
  const double mean = total / static_cast<double>(std::max<std::size_t>(1, free_.size()));
  // Hot enough that the largest rows move too: real heads have rows of 100 times the mean. Among
  // few rows each meets the full length of the others.
  const bool few = static_cast<Index>(free_.size()) <= kRestartRows / 2;
  slack_ = few ? 1e-6 * largest : 0.0;
  hottest_ = few ? largest : std::max(0.05 * mean, 0.06 * largest);
  proposals_per_poll_ = std::max<Index>(1, kNumbersPerPoll / problem.rows.width());
}

double Annealer::sweep(Subset& subset, double temperature, double target, Incumbent& best,
                       Monitor& monitor) {
  const double kappa = kStiffness * temperature;
  double acceptance = 0.0;
  std::vector<double> mean_excess(mu_.size(), 0.0);
  Index until_poll = proposals_per_poll_;
  for (const Index i : free_) {
    const Index s = problem_.quotas.stratum(i);
    const auto excess = static_cast<double>(subset.excess(s));
    mean_excess[s] += excess / stratum_sizes_[s];
    if (!subset.admissible(i)) continue;
    float dot = 0.0F;
    problem_.rows.dots(&i, 1, subset.sum(), &dot);
    const double sign = subset.removed(i) ? -1.0 : 1.0;
    const double change = 2.0 * sign * static_cast<double>(dot) + problem_.squared_norms[i];
    const double uphill =
        change + sign * temperature * mu_[s] + kappa * (2.0 * sign * excess + 1.0);
    const double probability = uphill <= 0.0 ? 1.0 : std::exp(-uphill / temperature);
    acceptance += probability;
    if (probability >= 1.0 || random_.uniform() < probability) {
      subset.flip(i, change);
      best.note_flip(i);
      if (best.offer(subset, slack_) && best.energy() <= target * target) break;
    }
    if (--until_poll == 0) {
      if (monitor.stop()) break;
      until_poll = proposals_per_poll_;
    }
  }
  for (std::size_t s = 0; s < mu_.size(); ++s) mu_[s] += kStiffness * mean_excess[s];
  return acceptance / static_cast<double>(free_.size());
}

Solution Annealer::solve(Index m, const Mask& start, const Effort& effort, double target,
                         Monitor& monitor) {
  const FlushDenormals flush;
  random_ = Random(seed_, ++solves_);
  const Bounds bounds = problem_.quotas.bounds(m);
  Mask first = start;
  repair(problem_, bounds, m, first, random_);
  Subset subset(problem_, m, first);
  Incumbent best(subset);

  monitor.record(problem_.change(best.norm(), m), m);

  const auto finished = [&] { return best.energy() <= target * target || monitor.stop(); };
  std::int64_t since_refresh = 0;
  const auto step = [&](double temperature) {
    const double acceptance = sweep(subset, temperature, target, best, monitor);
    if (++since_refresh == kSweepsPerRefresh) {
      subset.refresh();
      since_refresh = 0;
    }
    monitor.sweep_done(problem_.change(best.norm(), m), m);
    return acceptance;
  };

  // Share of the budget spent, in sweeps or by the clock.
  std::int64_t done = 0;
  const double started = monitor.seconds();
  const auto spent = [&] {
    const double by_work = static_cast<double>(done) / static_cast<double>(effort.sweeps);
    const double by_clock = (monitor.seconds() - started) / effort.seconds;
    if (by_clock > by_work) monitor.cut_short();
    return std::max(by_work, by_clock);
  };

  double coldest = hottest_;
  for (; spent() < kQuickShare && coldest > kRange * hottest_ && !finished(); ++done) {
    if (step(coldest) < (slack_ > 0.0 ? kFewFrozen : kFrozen)) break;
    coldest *= kFall;
  }

  const Index restarts =
      std::clamp<Index>(kRestartRows / std::max<Index>(1, problem_.size()), 1, kMostRestarts);
  const double quick = std::min(1.0, spent());
  double now = quick;
  while (now < 1.0 && !finished()) {
    const double progress = (now - quick) / (1.0 - quick) * static_cast<double>(restarts);
    step(hottest_ * std::pow(coldest / hottest_, progress - std::floor(progress)));
    now = spent();
    ++done;
  }
  return {best.mask(), certified_norm(problem_, best.mask())};
}

}  // namespace dprune
