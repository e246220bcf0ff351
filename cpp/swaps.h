// The exact end of a search: onto the quotas by the cheapest flips, then the best swap among a set
// of rows, again and again.
//
// A swap returns sample i and removes sample j of the same stratum and changes ||u||^2 by
// 2 (r_j - r_i) + K_ii + K_jj - 2 K_ij. With the Gram matrix of the set at hand all pairs are
// looked at in O(b^2).
#pragma once

#include "problem.h"
#include "subset.h"

namespace dprune {

// Flips, one by one, the sample of an unbalanced stratum that is cheapest to flip, until all strata
// are on target or `most` flips are done.
void settle(const Problem& problem, Index most, Subset& subset, Monitor& monitor);

// K is the plain Gram matrix of the rows. It ends after `most` swaps, or where none gains anything.
// The subset, on target before, is on target after.
void search_swaps(const Problem& problem, const Index* rows, Index count, const float* K,
                  Index most, Subset& subset, Monitor& monitor);

}  // namespace dprune
