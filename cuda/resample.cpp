#include "resample.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace dprune::cuda {
namespace {

constexpr double kLeastShare = 0.5;  // of the population, effective size
constexpr int kHalvings = 40;

std::vector<double> weights(const std::vector<double>& energies, double beta_step) {
  const double least = *std::min_element(energies.begin(), energies.end());
  std::vector<double> w(energies.size());
  std::transform(energies.begin(), energies.end(), w.begin(),
                 [&](double energy) { return std::exp(-beta_step * (energy - least)); });
  return w;
}

double effective_share(const std::vector<double>& w) {
  double sum = 0.0;
  double squares = 0.0;
  for (const double x : w) {
    sum += x;
    squares += x * x;
  }
  return sum * sum / (squares * static_cast<double>(w.size()));
}

}  // namespace

std::vector<Index> resample(const std::vector<double>& energies, double beta_step, double uniform) {
  auto w = weights(energies, beta_step);
  if (effective_share(w) < kLeastShare) {
    double low = 0.0;
    double high = beta_step;
    for (int step = 0; step < kHalvings; ++step) {
      const double middle = 0.5 * (low + high);
      (effective_share(weights(energies, middle)) < kLeastShare ? high : low) = middle;
    }
    w = weights(energies, low);
  }
  const auto count = static_cast<Index>(energies.size());
  const double scale = static_cast<double>(count) / std::accumulate(w.begin(), w.end(), 0.0);
  std::vector<Index> offspring(energies.size());
  double reached = 0.0;
  Index born = 0;
  for (Index c = 0; c < count; ++c) {
    reached += w[c] * scale;
    const Index until = c + 1 == count ? count : static_cast<Index>(std::ceil(reached - uniform));
    // The lowest, of weight 1, gets one whatever rounding says.
    offspring[c] = std::max<Index>(w[c] == 1.0 ? 1 : 0, until - born);
    born += offspring[c];
  }
  std::vector<Index> parents(energies.size());
  Index donor = 0;
  for (Index c = 0; c < count; ++c) {
    parents[c] = c;
    if (offspring[c] > 0) continue;
    while (offspring[donor] <= 1) ++donor;
    --offspring[donor];
    parents[c] = donor;
  }
  return parents;
}

}  // namespace dprune::cuda
