// The paper's two programs, and what every solver of them takes and gives.
//
//   Eq. 4   minimise ||W^T (S - c Sbar)|| subject to sum W = m         (a FixedSizeSolver)
//   Eq. 3   maximise sum W subject to change_c(W) <= eps               (budget.h, on top of one)
//
//   change_c(W) = ||W^T (S - c Sbar)|| / (1 - c m / n),  W_i = 1: sample i is removed
//
// W also keeps the groups' quotas and never removes a protected sample.
#pragma once

#include <cstdint>
#include <vector>

#include "monitor.h"
#include "quotas.h"
#include "rows.h"

namespace dprune {

using Mask = std::vector<std::uint8_t>;

struct Problem {
  const Rows& rows;
  std::vector<double> mean;           // Sbar, over all n rows
  std::vector<double> squared_norms;  // ||S_i||^2
  double reweight;                    // c
  Quotas quotas;
  Mask protect;

  Index size() const { return rows.size(); }
  // change_c of a subset of m samples whose centred sum has length norm.
  double change(double norm, Index m) const {
    return norm / (1.0 - reweight * static_cast<double>(m) / static_cast<double>(size()));
  }
};

struct Solution {
  Mask mask;
  double norm = 0.0;  // ||W^T (S - c Sbar)||, float64, certified
};

// How long to search: passes over the rows, cut short where the seconds do not allow them.
struct Effort {
  std::int64_t sweeps;
  double seconds;
};

class FixedSizeSolver {
 public:
  FixedSizeSolver() = default;
  FixedSizeSolver(const FixedSizeSolver&) = delete;
  FixedSizeSolver& operator=(const FixedSizeSolver&) = delete;
  virtual ~FixedSizeSolver() = default;

  // A subset of m samples. start (or nothing: random) need not have m. Ends when the effort is
  // spent, when the norm is at most `target`, or when the monitor says so.
  virtual Solution solve(Index m, const Mask& start, const Effort& effort, double target,
                         Monitor& monitor) = 0;
};

}  // namespace dprune
