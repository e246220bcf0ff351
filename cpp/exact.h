// The exact answer of Eq. 4 among few rows, by meeting in the middle.
//
// Cut the rows in two halves A and B. A subset is a pair of their subsets, and its
//
//   u = x - y,   x = sum_A S_i,   y = c m Sbar - sum_B S_i,
//
// so the best subset is the nearest pair of points x and y among the pairs whose counts add up to
// m in every stratum. Nearer than the distance known is nearer in each coordinate: both kinds of
// points are sorted into strips of the first, that distance wide, and by the second within a strip,
// and each x then meets a few y only, in its own strip and the two beside it. Coordinates are those
// of a pivoted Cholesky factor of the rows' Gram matrix, so the first two tell most.
#pragma once

#include "problem.h"
#include "subset.h"

namespace dprune {

// More rows than this make too many points.
constexpr Index kMostExactRows = 36;

// Makes a subset on target the best one whose removed samples are among these rows, unless that
// takes more than `most` multiplications or the monitor stops it. Whether it is certain now that
// none is better, or the energy is at most `target`.
bool search_halves(const Problem& problem, const Index* rows, Index count, double most,
                   double target, Subset& subset, Monitor& monitor);

}  // namespace dprune
