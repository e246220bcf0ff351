#include "subset.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "kernels.h"

namespace dprune {
namespace {

Index square(Index x) { return x * x; }

// sum_W S_i - c m Sbar in float64
std::vector<double> centred_sum(const Problem& problem, const Mask& mask, Index m) {
  std::vector<Index> labels(mask.size());
  std::transform(mask.begin(), mask.end(), labels.begin(),
                 [](std::uint8_t removed) { return removed ? Index{0} : Index{-1}; });
  std::vector<double> sum(problem.mean.size());
  for (std::size_t j = 0; j < sum.size(); ++j) {
    sum[j] = -problem.reweight * static_cast<double>(m) * problem.mean[j];
  }
  problem.rows.add_groups(labels.data(), {sum.data(), 1, problem.rows.width()}, 1);
  return sum;
}

}  // namespace

double certified_norm(const Problem& problem, const Mask& mask) {
  const Index m = std::count(mask.begin(), mask.end(), 1);
  const auto sum = centred_sum(problem, mask, m);
  return std::sqrt(squared_norm(sum.data(), static_cast<Index>(sum.size())));
}

void repair(const Problem& problem, const Bounds& bounds, Index m, Mask& mask, Random& random) {
  const Index n = problem.size();
  const auto& labels = problem.quotas.labels();
  if (mask.empty()) mask.assign(n, 0);
  std::vector<Index> order;
  for (Index i = 0; i < n; ++i) {
    if (problem.protect[i]) {
      mask[i] = 0;
    } else {
      order.push_back(i);
    }
  }
  for (Index k = static_cast<Index>(order.size()) - 1; k > 0; --k) {
    std::swap(order[k], order[random.below(k + 1)]);
  }
  std::vector<Index> counts(bounds.lo.size(), 0);
  Index total = 0;
  for (const Index i : order) {
    counts[labels[i]] += mask[i];
    total += mask[i];
  }
  const auto set = [&](Index i, std::uint8_t value) {
    const Index step = value - mask[i];
    counts[labels[i]] += step;
    total += step;
    mask[i] = value;
  };
  for (const Index i : order) {  // each group into its bounds
    if (mask[i] && counts[labels[i]] > bounds.hi[labels[i]]) set(i, 0);
    if (!mask[i] && counts[labels[i]] < bounds.lo[labels[i]]) set(i, 1);
  }
  for (const Index i : order) {  // then all groups together to m
    if (total > m && mask[i] && counts[labels[i]] > bounds.lo[labels[i]]) set(i, 0);
    if (total < m && !mask[i] && counts[labels[i]] < bounds.hi[labels[i]]) set(i, 1);
  }
}

Subset::Subset(const Problem& problem, Index m, Mask mask)
    : problem_(problem),
      m_(m),
      bounds_(problem.quotas.bounds(m)),
      mask_(std::move(mask)),
      counts_(problem.quotas.groups(), 0),
      excess_(problem.quotas.strata(), 0),
      u_(problem.mean.size()) {
  const Quotas& quotas = problem.quotas;
  for (Index i = 0; i < problem.size(); ++i) {
    counts_[quotas.labels()[i]] += mask_[i];
    excess_[quotas.stratum(i)] += mask_[i];
  }
  for (Index s = 0; s < quotas.strata(); ++s) {
    excess_[s] -= quotas.proportional() ? bounds_.hi[s] : m;
    violation_ += square(excess_[s]);
  }
  refresh();
}

void Subset::flip(Index i, double energy_change) {
  const float sign = mask_[i] ? -1.0F : 1.0F;
  toggle(i, energy_change);
  add(&i, &sign, 1);
}

void Subset::toggle(Index i, double energy_change) {
  const Index step = mask_[i] ? -1 : 1;
  Index& excess = excess_[problem_.quotas.stratum(i)];
  violation_ += square(excess + step) - square(excess);
  excess += step;
  counts_[problem_.quotas.labels()[i]] += step;
  mask_[i] ^= 1;
  energy_ += energy_change;
}

void Subset::add(const Index* rows, const float* signs, Index count) {
  problem_.rows.add(rows, signs, count, u_.data());
}

void Subset::measure() { energy_ = squared_norm(u_.data(), static_cast<Index>(u_.size())); }

void Subset::refresh() {
  const auto sum = centred_sum(problem_, mask_, m_);
  std::copy(sum.begin(), sum.end(), u_.begin());
  energy_ = squared_norm(sum.data(), static_cast<Index>(sum.size()));
}

double Incumbent::norm() const { return std::sqrt(std::max(0.0, energy_)); }

void Incumbent::take(const Subset& subset) {
  energy_ = subset.energy();
  if (flips_.size() < mask_.size()) {
    for (const Index i : flips_) mask_[i] ^= 1;
  } else {
    mask_ = subset.mask();
  }
  flips_.clear();
}

}  // namespace dprune
