// Eq. 3: the largest subset whose removal changes the head by at most eps.
//
// The feasible sizes are not an interval, but nearly: the search brackets and bisects the size
// with fixed-size solves, each started from the last feasible subset, and then probes a few sizes
// above. Small problems are scanned from the top, which is exact given an exact inner solver.
#pragma once

#include "problem.h"

namespace dprune {

// ceiling: no larger subset is looked for, a bound known beforehand.
Solution solve_budget(const Problem& problem, double eps, Index ceiling, FixedSizeSolver& solver,
                      const Effort& effort, Monitor& monitor);

}  // namespace dprune
