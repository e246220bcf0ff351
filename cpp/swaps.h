// The exact end of a search: onto the quotas by the cheapest flips, then the best swap among a set
// of rows, again and again.
//
// A swap returns sample i and removes sample j of the same stratum and changes ||u||^2 by
// 2 (r_j - r_i) + K_ii + K_jj - 2 K_ij. With the Gram matrix of the set at hand all pairs are
// looked at in O(b^2). Past the first minimum the search goes on over the best swaps that are not
// tabu (samples that moved lately stay), and returns to the best subset it saw.
#pragma once

#include "problem.h"
#include "subset.h"

namespace dprune {

// Flips, one by one, the sample of an unbalanced stratum that is cheapest to flip, until all strata
// are on target or `most` flips are done.
void settle(const Problem& problem, Index most, Subset& subset, Monitor& monitor);

// K is the plain Gram matrix of the rows. It ends after `most` swaps, or `patience` swaps without
// improvement (0: at the first minimum). The subset, on target before, is on target after, and
// never worse.
void search_swaps(const Problem& problem, const Index* rows, Index count, const float* K,
                  Index most, Index patience, Subset& subset, Monitor& monitor);

}  // namespace dprune
