// Tabu search by swaps, for problems whose whole Gram matrix is at hand.
//
// With the field f_i = 2 <S_i, u> a sample costs -f_i + K_ii to return and f_i + K_ii to remove.
// A step returns the sample that is cheapest to return, brings the field up to date, f -= 2 K_i,
// and removes the one of its stratum that is cheapest to remove then: two passes over n numbers,
// uphill where there is no way down. Both stay where they are for the next few steps.
//
// A walk that has frozen looks at each flip alone; with few dimensions to a row there are far
// better subsets near by, each some swaps away. With many there are none, and time spent here is
// lost (benchmarks/RESULTS.md).
#pragma once

#include <cstdint>
#include <functional>

#include "problem.h"
#include "rng.h"
#include "subset.h"

namespace dprune {

// K is the Gram matrix of the rows, those of a stratum side by side. It ends after so many steps,
// at the target (an energy), or when over() says so, asked every fraction of a millisecond. The
// subset, on target before, is on target after, and never worse.
void search_tabu(const Problem& problem, const Index* rows, Index count, const float* K,
                 std::int64_t steps, double target, Subset& subset, Random& random,
                 const std::function<bool()>& over);

}  // namespace dprune
