#include "swaps.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "kernels.h"

namespace dprune {
namespace {

// A swap must gain more than rounding errors could.
constexpr double kLeastGain = 1e-6;

}  // namespace

void settle(const Problem& problem, Index most, Subset& subset, Monitor& monitor) {
  const Quotas& quotas = problem.quotas;
  std::vector<Index> rows;
  std::vector<float> r(static_cast<std::size_t>(problem.size()));
  for (Index s = 0; s < quotas.strata(); ++s) {
    while (subset.excess(s) != 0 && most-- > 0 && !monitor.stop()) {
      const bool remove = subset.excess(s) < 0;
      rows.clear();
      for (Index i = 0; i < problem.size(); ++i) {
        if (quotas.stratum(i) == s && !problem.protect[i] && subset.removed(i) != remove &&
            subset.admissible(i)) {
          rows.push_back(i);
        }
      }
      if (rows.empty()) break;
      const float sign = remove ? 1.0F : -1.0F;
      problem.rows.dots(rows.data(), static_cast<Index>(rows.size()), subset.sum(), r.data());
      Index cheapest = rows[0];
      double least = std::numeric_limits<double>::infinity();
      for (std::size_t a = 0; a < rows.size(); ++a) {
        const double change =
            2.0 * static_cast<double>(sign * r[a]) + problem.squared_norms[rows[a]];
        if (change < least) {
          least = change;
          cheapest = rows[a];
        }
      }
      subset.flip(cheapest, least);
    }
  }
  subset.refresh();
}

void search_swaps(const Problem& problem, const Index* rows, Index count, const float* K,
                  Index most, Subset& subset, Monitor& monitor) {
  const Quotas& quotas = problem.quotas;
  std::vector<float> r(count);
  problem.rows.dots(rows, count, subset.sum(), r.data());
  double scale = 0.0;
  for (Index a = 0; a < count; ++a) scale = std::max(scale, problem.squared_norms[rows[a]]);

  const auto flip = [&](Index a, double change) {
    const float sign = subset.removed(rows[a]) ? -1.0F : 1.0F;
    subset.flip(rows[a], change);
    axpy(sign, K + a * count, r.data(), count);
  };

  for (Index swap = 0; swap < most && !monitor.stop(); ++swap) {
    double least = -kLeastGain * scale;
    Index out = -1;
    Index in = -1;
    for (Index i = 0; i < count; ++i) {
      if (!subset.removed(rows[i])) continue;
      const float base = K[i * count + i] - 2.0F * r[i];
      for (Index j = 0; j < count; ++j) {
        if (subset.removed(rows[j])) continue;
        const float change = base + 2.0F * r[j] + K[j * count + j] - 2.0F * K[i * count + j];
        if (static_cast<double>(change) >= least) continue;
        if (quotas.stratum(rows[i]) != quotas.stratum(rows[j])) continue;
        if (quotas.labels()[rows[i]] != quotas.labels()[rows[j]] && !subset.admissible(rows[j])) {
          continue;
        }
        least = static_cast<double>(change);
        out = i;
        in = j;
      }
    }
    if (out < 0) break;
    flip(out, 0.0);
    flip(in, least);
  }
  subset.refresh();
}

}  // namespace dprune
