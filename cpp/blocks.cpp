#include "blocks.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "denormals.h"
#include "parallel.h"

namespace dprune {
namespace {

// Problems up to the first size are one block, and up to the second where there is time for it.
constexpr Index kSmallest = 1024;
constexpr Index kSmall = 2048;
// Kernels multiply by 32 rows: narrower blocks cost as much.
constexpr Index kNarrowestInHaste = 32;
// Under a time limit: the share of it that Gram matrices may take, at a cautious speed.
constexpr double kGramShare = 0.1;
constexpr double kProductsPerSecond = 4e10;
// All Gram matrices should stay in memory.
constexpr Index kMostGramNumbers = Index{1} << 27;

}  // namespace

Blocks::Blocks(const Problem& problem, double seconds, Index widest) : problem_(problem) {
  double largest = 0.0;
  for (Index i = 0; i < problem.size(); ++i) {
    if (problem.protect[i]) continue;
    free_.push_back(i);
    largest = std::max(largest, problem.squared_norms[i]);
  }
  const Index n = free_rows();
  width_ = std::max<Index>(1, n);
  const double products = static_cast<double>(n) * static_cast<double>(problem.rows.width());
  const auto too_long = [&](Index width) {
    return products * static_cast<double>(width) / kProductsPerSecond > kGramShare * seconds;
  };
  if (n <= kSmall && (n <= kSmallest || !too_long(n))) {
    std::sort(free_.begin(), free_.end(), [&](Index a, Index b) {
      const Index s = problem.quotas.stratum(a);
      const Index t = problem.quotas.stratum(b);
      return s != t ? s < t : a < b;
    });
  } else {
    width_ = widest;
    while (width_ > kNarrowestInHaste && too_long(width_)) width_ /= 2;
    if (!problem.rows.sequential()) {
      constexpr int kNothing = 64;  // octaves below the largest
      std::vector<int> octave(problem.size(), kNothing);
      for (const Index i : free_) {
        const double share = problem.squared_norms[i] / largest;
        if (share > 0.0) octave[i] = std::min(kNothing, -std::ilogb(share));
      }
      std::sort(free_.begin(), free_.end(), [&](Index a, Index b) {
        return octave[a] != octave[b] ? octave[a] < octave[b] : a < b;
      });
    }
  }
  for (Index first = 0; first < n; first += width_) {
    double least = problem.squared_norms[free_[first]];
    double most = least;
    for (Index k = first; k < std::min(n, first + width_); ++k) {
      least = std::min(least, problem.squared_norms[free_[k]]);
      most = std::max(most, problem.squared_norms[free_[k]]);
    }
    least_.push_back(least);
    most_.push_back(most);
  }
  kept_ = n <= kSmall || n * width_ <= 2 * kMostGramNumbers;
  grams_.reset(new float[static_cast<std::size_t>((kept_ ? n : width_) * width_)]);
  known_.assign(count(), 0);
  if (count() > 1 && problem.rows.explicit_in_memory())
    coarse_ = std::make_unique<CoarseRows>(problem.rows, n);
  filled_.assign(count(), 0);
}

Index Blocks::size(Index block) const { return std::min(width_, free_rows() - block * width_); }

const float* Blocks::gram(Index block) {
  if (!kept_) {
    problem_.rows.gram(rows(block), size(block), grams_.get());
    return grams_.get();
  }
  float* K = grams_.get() + block * width_ * width_;
  if (!known_[block]) {
    problem_.rows.gram(rows(block), size(block), K);
    known_[block] = 1;
  }
  return K;
}

void Blocks::coarse_dots(Index block, const CoarseRows::Rounded& u, float* r) {
  const Index first = block * width_;
  if (!filled_[block]) {
    coarse_->fill(first, rows(block), size(block));
    filled_[block] = 1;
  }
  coarse_->dots(first, size(block), u, r);
}

void Blocks::prepare(const Index* blocks, Index count, int threads) {
  if (!kept_) return;
  std::vector<Index> unknown;
  std::copy_if(blocks, blocks + count, std::back_inserter(unknown),
               [&](Index block) { return !known_[block]; });
  parallel_ranges(static_cast<Index>(unknown.size()), threads, [&](Index begin, Index end) {
    const FlushDenormals flush;
    for (Index k = begin; k < end; ++k) gram(unknown[k]);
  });
}

}  // namespace dprune
