#include "exact.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "simd.h"

namespace dprune {
namespace {

// What a point costs before it meets others, and a pair besides its dimensions, in multiplications.
constexpr double kPerPoint = 1024.0;
constexpr double kPerPair = 2.0;
// Below this share of the largest squared norm a direction is rounding error.
constexpr double kLeast = 1e-15;
constexpr Index kPointsPerPoll = 64;

// Coordinates of vectors with the Gram matrix G, one row of X a dimension.
using Coordinates = std::vector<std::vector<double>>;

Coordinates pivoted_cholesky(const std::vector<double>& G, std::size_t count) {
  Coordinates X;
  std::vector<double> left(count);
  for (std::size_t v = 0; v < count; ++v) left[v] = G[v * count + v];
  const double largest = *std::max_element(left.begin(), left.end());
  while (X.size() < count) {
    const auto pivot =
        static_cast<std::size_t>(std::max_element(left.begin(), left.end()) - left.begin());
    if (left[pivot] <= kLeast * largest) break;
    std::vector<double> x(G.begin() + static_cast<Index>(pivot * count),
                          G.begin() + static_cast<Index>((pivot + 1) * count));
    for (const auto& before : X) {
      for (std::size_t v = 0; v < count; ++v) x[v] -= before[v] * before[pivot];
    }
    const double length = std::sqrt(left[pivot]);
    for (std::size_t v = 0; v < count; ++v) {
      x[v] /= length;
      left[v] -= x[v] * x[v];
    }
    X.push_back(std::move(x));
  }
  return X;
}

// The rows and, last, c m Sbar.
Coordinates coordinates(const Problem& problem, const Index* rows, Index count, Index m) {
  const Index N = problem.rows.width();
  std::vector<double> vectors(static_cast<std::size_t>((count + 1) * N));
  std::vector<float> row(static_cast<std::size_t>(N));
  for (Index a = 0; a < count; ++a) {
    problem.rows.read(rows[a], row.data());
    std::copy(row.begin(), row.end(), vectors.begin() + a * N);
  }
  for (Index j = 0; j < N; ++j) {
    vectors[count * N + j] = problem.reweight * static_cast<double>(m) * problem.mean[j];
  }
  std::vector<double> G(static_cast<std::size_t>((count + 1) * (count + 1)));
  for (Index a = 0; a <= count; ++a) {
    for (Index b = 0; b <= a; ++b) {
      double dot = 0.0;
      for (Index j = 0; j < N; ++j) dot += vectors[a * N + j] * vectors[b * N + j];
      G[a * (count + 1) + b] = G[b * (count + 1) + a] = dot;
    }
  }
  return pivoted_cholesky(G, static_cast<std::size_t>(count + 1));
}

// A subset of one half. The key is its count in each stratum, or what it needs of the other half.
struct Point {
  std::uint64_t key;
  double strip;
  double second;
  std::uint32_t subset;

  bool operator<(const Point& other) const {
    if (key != other.key) return key < other.key;
    if (strip != other.strip) return strip < other.strip;
    return second < other.second;
  }
};

// The first of the points begin..end whose squared distance from x is below the limit, or end.
// Column k of y is a point; columns beyond the last may be read.
struct NextNearer {
  template <class V>
  static DPRUNE_INLINE Index run(const double* y, Index stride, const double* x, Index dimensions,
                                 Index begin, Index end, double limit) {
    constexpr Index kVectors = 4;
    for (Index k = begin; k < end; k += kVectors * V::kDoubles) {
      typename V::Double sum[kVectors] = {};
      for (Index d = 0; d < dimensions; ++d) {
#pragma GCC unroll 4
        for (Index v = 0; v < kVectors; ++v) {
          typename V::Double there;
          V::load(y + d * stride + k + v * V::kDoubles, there);
          sum[v] += (there - x[d]) * (there - x[d]);
        }
      }
      const auto near = (sum[0] < limit) | (sum[1] < limit) | (sum[2] < limit) | (sum[3] < limit);
      bool any = false;
      for (Index l = 0; l < V::kDoubles; ++l) any |= near[l] != 0;
      if (!any) continue;
      for (Index l = 0; l < kVectors * V::kDoubles && k + l < end; ++l) {
        if (sum[l / V::kDoubles][l % V::kDoubles] < limit) return k + l;
      }
    }
    return end;
  }
};
// What the last vectors of 64 bytes may read beyond the points.
constexpr Index kPadding = 32;

class Halves {
 public:
  Halves(const Problem& problem, const Index* rows, Index count, const Subset& start)
      : problem_(problem),
        rows_(rows),
        count_(count),
        middle_(count / 2),
        X_(coordinates(problem, rows, count, start.target())),
        best_(start.energy()),
        width_(std::sqrt(best_)) {
    const Bounds bounds = problem.quotas.bounds(start.target());
    caps_ = bounds.hi;
    // Keys are numbers whose digits are the strata's counts: none overflows.
    std::vector<std::uint64_t> digit(problem.quotas.strata(), 0);
    std::vector<std::uint64_t> sizes(digit.size(), 0);
    for (Index a = 0; a < count; ++a) ++sizes[problem.quotas.stratum(rows[a])];
    std::uint64_t place = 1;
    for (std::size_t s = 0; s < digit.size(); ++s) {
      digit[s] = place;
      place *= sizes[s] + 1;
    }
    for (Index a = 0; a < count; ++a) keys_.push_back(digit[problem.quotas.stratum(rows[a])]);
    for (Index a = 0; a < count; ++a) needed_ += start.removed(rows[a]) ? keys_[a] : 0;
    if (X_.size() < 2) X_.resize(2, std::vector<double>(count + 1, 0.0));
    first_ = points(0, middle_, 1.0);
    second_ = points(middle_, count, -1.0);
  }

  // Multiplications to come.
  double cost() const {
    double pairs = 0.0;
    for_windows([&](std::size_t, Index begin, Index end) {
      pairs += static_cast<double>(end - begin);
      return true;
    });
    return pairs * (static_cast<double>(X_.size()) + kPerPair);
  }

  // Whether it came to its end, or to the target.
  bool search(double target, Monitor& monitor) {
    const auto dimensions = static_cast<Index>(X_.size());
    const auto stride = static_cast<Index>(second_.size()) + kPadding;
    std::vector<double> y(static_cast<std::size_t>(dimensions * stride), 0.0);
    for (Index d = 0; d < dimensions; ++d) {
      for (std::size_t k = 0; k < second_.size(); ++k) {
        y[d * stride + static_cast<Index>(k)] =
            X_[d][count_] - sum(X_[d], middle_, second_[k].subset);
      }
    }
    std::vector<double> x(static_cast<std::size_t>(dimensions));
    std::size_t at = first_.size();
    return for_windows([&](std::size_t a, Index begin, Index end) {
             if (a != at) {
               at = a;
               if (a % kPointsPerPoll == 0 && monitor.stop()) return false;
               for (Index d = 0; d < dimensions; ++d) x[d] = sum(X_[d], 0, first_[a].subset);
             }
             const auto next = [&](Index from) {
               return dispatch<NextNearer>(y.data(), stride, x.data(), dimensions, from, end,
                                           best_);
             };
             for (Index b = next(begin); b < end && best_ > target; b = next(b + 1)) {
               const std::uint64_t mask =
                   first_[a].subset | static_cast<std::uint64_t>(second_[b].subset) << middle_;
               if (!admissible(mask)) continue;
               best_ = 0.0;
               for (Index d = 0; d < dimensions; ++d) {
                 best_ += (y[d * stride + b] - x[d]) * (y[d * stride + b] - x[d]);
               }
               mask_ = mask;
               improved_ = true;
             }
             return true;
           }) ||
           best_ <= target;
  }

  bool improved() const { return improved_; }
  bool removes(Index a) const { return (mask_ >> a & 1) != 0; }

 private:
  static double sum(const std::vector<double>& x, Index first, std::uint32_t subset) {
    double sum = 0.0;
    for (; subset != 0; subset &= subset - 1) sum += x[first + __builtin_ctz(subset)];
    return sum;
  }

  // All subsets of rows begin..end, as x (sign 1, with the key they need) or y (sign -1).
  std::vector<Point> points(Index begin, Index end, double sign) const {
    std::vector<Point> points(std::size_t{1} << (end - begin));
    std::vector<double> leading(points.size(), 0.0);
    const double offset = sign > 0.0 ? 0.0 : X_[0][count_];
    points[0] = {0, 0.0, sign > 0.0 ? 0.0 : X_[1][count_], 0};
    for (std::uint32_t k = 1; k < points.size(); ++k) {
      const std::uint32_t rest = k & (k - 1);
      const Index row = begin + __builtin_ctz(k);
      leading[k] = leading[rest] + sign * X_[0][row];
      points[k] = {points[rest].key + keys_[row], 0.0, points[rest].second + sign * X_[1][row], k};
    }
    for (std::size_t k = 0; k < points.size(); ++k) {
      points[k].strip = std::floor((offset + leading[k]) / width_);
      if (sign > 0.0) points[k].key = needed_ - points[k].key;
    }
    std::sort(points.begin(), points.end());
    return points;
  }

  // visit(a, begin, end) for x number a and ranges of the y that may be near; false ends it.
  template <class Visit>
  bool for_windows(const Visit& visit) const {
    // Both are sorted alike, so that windows only move on.
    std::size_t begin[3] = {};
    std::size_t end[3] = {};
    for (std::size_t a = 0; a < first_.size(); ++a) {
      const Point& x = first_[a];
      for (int beside = 0; beside < 3; ++beside) {
        const double strip = x.strip + beside - 1.0;
        const Point low{x.key, strip, x.second - width_, 0};
        const Point high{x.key, strip, x.second + width_, 0};
        std::size_t& from = begin[beside];
        std::size_t& to = end[beside];
        while (from < second_.size() && second_[from] < low) ++from;
        to = std::max(to, from);
        while (to < second_.size() && !(high < second_[to])) ++to;
        if (from < to && !visit(a, static_cast<Index>(from), static_cast<Index>(to))) return false;
      }
    }
    return true;
  }

  // Caps of groups are no part of the key.
  bool admissible(std::uint64_t mask) const {
    if (problem_.quotas.proportional()) return true;
    std::vector<Index> counts(caps_.size(), 0);
    for (Index a = 0; a < count_; ++a) {
      if ((mask >> a & 1) != 0) {
        const Index group = problem_.quotas.labels()[rows_[a]];
        if (++counts[group] > caps_[group]) return false;
      }
    }
    return true;
  }

  const Problem& problem_;
  const Index* rows_;
  Index count_;
  Index middle_;
  Coordinates X_;
  double best_;
  double width_;
  std::vector<Index> caps_;
  std::vector<std::uint64_t> keys_;
  std::uint64_t needed_ = 0;
  std::vector<Point> first_, second_;
  std::uint64_t mask_ = 0;
  bool improved_ = false;
};

}  // namespace

bool search_halves(const Problem& problem, const Index* rows, Index count, double most,
                   double target, Subset& subset, Monitor& monitor) {
  if (count > kMostExactRows) return false;
  if (subset.energy() <= target) return true;
  const auto half = static_cast<double>(std::uint64_t{1} << ((count + 1) / 2));
  const double points = 2.0 * kPerPoint * half;
  if (points > most) return false;
  Halves halves(problem, rows, count, subset);
  if (points + halves.cost() > most) return false;
  const bool certain = halves.search(target, monitor);
  if (halves.improved()) {
    for (Index a = 0; a < count; ++a) {
      if (halves.removes(a) == subset.removed(rows[a])) continue;
      const float sign = subset.removed(rows[a]) ? -1.0F : 1.0F;
      subset.toggle(rows[a], 0.0);
      subset.add(&rows[a], &sign, 1);
    }
    subset.refresh();
  }
  return certain;
}

}  // namespace dprune
