#include "budget.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "subset.h"

namespace dprune {
namespace {

constexpr Index kScanRows = 32;  // up to here every size is tried
constexpr Index kProbes = 6;     // sizes tried above the bisected one

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

  const auto reaches = [&](Index m, const Effort& share) {
    if (monitor.stop()) return false;
    const double kept_share = problem.change(1.0, m);
    Solution found = solver.solve(m, best.mask, share, eps / kept_share, monitor);
    if (problem.change(found.norm, m) > eps) return false;
    best = std::move(found);
    size = m;
    monitor.record(problem.change(best.norm, size), size);
    return true;
  };

  const bool scan = n <= kScanRows;
  const double probes = scan ? std::max<double>(1.0, static_cast<double>(most))
                             : std::ceil(std::log2(static_cast<double>(n))) + kProbes;
  const Effort each{std::max<std::int64_t>(1, std::llround(effort.sweeps / probes)),
                    effort.seconds / probes};
  if (scan) {
    for (Index m = most; m > 0 && !reaches(m, each); --m) {
    }
    return best;
  }

  Index above = most + 1;  // the least size that failed
  if (most > 0 && !reaches(most, each)) above = most;
  while (size + 1 < above && !monitor.stop()) {
    const Index middle = size + (above - size) / 2;
    if (!reaches(middle, each)) above = middle;
  }
  for (Index probe = 0; probe < kProbes && size + 1 + probe <= most && !monitor.stop();) {
    probe = reaches(size + 1 + probe, each) ? 0 : probe + 1;
  }
  return best;
}

}  // namespace dprune
