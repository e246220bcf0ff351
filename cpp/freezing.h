// Where a walk begins and where it freezes, as the squared norms of the rows that may move tell.
#pragma once

#include <algorithm>
#include <vector>

#include "problem.h"

namespace dprune {

struct Freezing {
  double largest;  // of the squared norms
  double hottest;
  double likely;  // where the smaller rows are expected to freeze
  bool alike;     // all but the smallest rows are expected to freeze near there
};

// Where there is nothing to look for, the fall goes from one to the other multiple of `likely`.
constexpr double kFrom = 2.5;
constexpr double kTo = 0.6;

inline Freezing freezing(const Problem& problem) {
  // Hot enough that the largest rows move too: real heads have rows of 100 times the mean.
  constexpr double kMean = 0.05;
  constexpr double kLargest = 0.15;
  constexpr double kSmallerRows = 0.1;
  constexpr double kFreezing = 1.0 / 40.0;
  // Squared norms of all but the smallest rows are then within this factor.
  constexpr double kAlike = 16.0;

  std::vector<double> q;
  double total = 0.0;
  Index rows = 0;
  for (Index i = 0; i < problem.size(); ++i) {
    if (problem.protect[i]) continue;
    total += problem.squared_norms[i];
    ++rows;
    if (problem.squared_norms[i] > 0.0) q.push_back(problem.squared_norms[i]);
  }
  if (q.empty()) return {0.0, 0.0, 0.0, false};
  const double mean = total / static_cast<double>(rows);
  const double largest = *std::max_element(q.begin(), q.end());
  const auto at = q.begin() + static_cast<Index>(kSmallerRows * static_cast<double>(q.size()));
  std::nth_element(q.begin(), at, q.end());
  const double hottest = std::max(kMean * mean, kLargest * largest);
  const double likely = std::min(hottest, kFreezing * *at);
  return {largest, hottest, likely, largest * kFreezing < kAlike * likely};
}

}  // namespace dprune
