// Which blocks a walk visits at which temperature, and how the temperature falls.
//
// A row of squared norm q in a running sum at equilibrium is flipped with probability
// erfc(sqrt(q / 4T)): freely where q << T, hardly ever where q > 50 T. The frozen rows, and the
// smallest ones that need not yet follow, are left out of a sweep: with heavy-tailed rows this
// saves much. (Rows somewhat below T must stay in: by following every move of the large rows they
// lower its price.) The fall is geometric, each temperature getting the same number of sweeps, and
// so a share of the work in proportion to its active rows.
#pragma once

#include <algorithm>
#include <cmath>
#include <vector>

#include "blocks.h"

namespace dprune {

inline bool active(const Blocks& blocks, Index block, double temperature) {
  return blocks.most(block) >= 0.05 * temperature && blocks.least(block) <= 100.0 * temperature;
}

class Cooling {
 public:
  Cooling(const Blocks& blocks, double hottest, double coldest)
      : hottest_(hottest), ratio_(coldest / hottest), work_(kSteps + 1, 0.0) {
    for (int step = 0; step < kSteps; ++step) {
      double rows = 1.0;
      for (Index block = 0; block < blocks.count(); ++block) {
        if (active(blocks, block, at(step + 0.5))) rows += static_cast<double>(blocks.size(block));
      }
      work_[step + 1] = work_[step] + rows;
    }
  }

  // Temperature when this share of the work is done, 0 to 1.
  double temperature(double progress) const {
    const double done = std::clamp(progress, 0.0, 1.0) * work_.back();
    int step = 0;
    while (step < kSteps - 1 && work_[step + 1] < done) ++step;
    return at(step + (done - work_[step]) / (work_[step + 1] - work_[step]));
  }

 private:
  static constexpr int kSteps = 64;

  double at(double step) const { return hottest_ * std::pow(ratio_, step / kSteps); }

  double hottest_;
  double ratio_;
  std::vector<double> work_;  // up to each step
};

}  // namespace dprune
