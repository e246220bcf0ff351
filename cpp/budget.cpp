#include "budget.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "subset.h"

namespace dprune {
namespace {

constexpr Index kScanRows = 32;  // up to here every size is tried
constexpr Index kProbes = 6;     // sizes tried above the bisected one
// While bisection has more than so many halvings to go it is far from the border, which takes less
// to see: this share of what a later search is given.
constexpr double kHardHalvings = 5.0;
constexpr double kEasy = 0.25;

}  // namespace

Solution solve_budget(const Problem& problem, double eps, Index ceiling, FixedSizeSolver& solver,
                      const Effort& effort, Monitor& monitor) {
  const Index n = problem.size();
  // m = n leaves nothing to train on: never an answer.
  const Index most = std::min({problem.quotas.most_removable(), n - 1, ceiling});

  Solution best;  // nothing removed: always feasible
  best.mask.assign(n, 0);
  monitor.record(0.0, 0);
  Index size = 0;  // of best

  // Searches to come, and what this one may have of the effort that is left: those that reached
  // their target early leave theirs to the others.
  const double begun = monitor.seconds();
  const auto share = [&](double halvings, double others) {
    const double easy = std::max(0.0, halvings - kHardHalvings);
    const double weights = kEasy * easy + (halvings - easy) + others;
    const double part = (easy > 0.0 ? kEasy : 1.0) / std::max(1.0, weights);
    const auto sweeps = static_cast<double>(effort.sweeps - monitor.sweeps());
    return Effort{std::max<std::int64_t>(1, std::llround(part * sweeps)),
                  std::max(0.0, part * (effort.seconds - (monitor.seconds() - begun)))};
  };
  const auto reaches = [&](Index m, const Effort& given) {
    if (monitor.stop()) return false;
    const double kept_share = problem.change(1.0, m);
    Solution found = solver.solve(m, best.mask, given, eps / kept_share, monitor);
    if (problem.change(found.norm, m) > eps) return false;
    best = std::move(found);
    size = m;
    monitor.record(problem.change(best.norm, size), size);
    return true;
  };

  if (n <= kScanRows) {
    const Effort each = share(0.0, static_cast<double>(most));
    for (Index m = most; m > 0 && !reaches(m, each); --m) {
    }
    return best;
  }

  Index above = most + 1;  // the least size that failed
  const auto halvings = [&] { return std::ceil(std::log2(static_cast<double>(above - size))); };
  if (most > 0 && !reaches(most, share(halvings(), kProbes))) above = most;
  while (size + 1 < above && !monitor.stop()) {
    const Index middle = size + (above - size) / 2;
    if (!reaches(middle, share(halvings(), kProbes))) above = middle;
  }
  for (Index probe = 0; probe < kProbes && size + 1 + probe <= most && !monitor.stop();) {
    const Effort given = share(0.0, static_cast<double>(kProbes - probe));
    probe = reaches(size + 1 + probe, given) ? 0 : probe + 1;
  }
  return best;
}

}  // namespace dprune
