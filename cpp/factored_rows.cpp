#include "factored_rows.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "kernels.h"
#include "parallel.h"

namespace dprune {
namespace {

// Rows whose outer products are added together: their factors stay in the cache.
constexpr Index kBatch = 32;

std::vector<const float*> pointers(MatrixView<const float> factor, const Index* block,
                                   Index count) {
  std::vector<const float*> rows(static_cast<std::size_t>(count));
  for (Index a = 0; a < count; ++a) rows[a] = factor.row(block[a]);
  return rows;
}

}  // namespace

FactoredRows::FactoredRows(MatrixView<const float> b, MatrixView<const float> a) : b_(b), a_(a) {
  if (b.rows != a.rows) throw std::invalid_argument("a and b must have the same number of rows");
}

void FactoredRows::gram(const Index* block, Index count, float* K) const {
  symmetric_products(pointers(a_, block, count).data(), count, a_.cols, K);
  std::vector<float> other(static_cast<std::size_t>(count * count));
  symmetric_products(pointers(b_, block, count).data(), count, b_.cols, other.data());
  for (Index k = 0; k < count * count; ++k) K[k] *= other[k];
}

void FactoredRows::dots(const Index* block, Index count, const float* u, float* r) const {
  std::vector<const float*> U(static_cast<std::size_t>(b_.cols));
  for (Index p = 0; p < b_.cols; ++p) U[p] = u + p * a_.cols;
  std::vector<float> product(static_cast<std::size_t>(count * b_.cols));
  inner_products(pointers(a_, block, count).data(), count, U.data(), b_.cols, a_.cols,
                 product.data(), b_.cols);
  for (Index k = 0; k < count; ++k) {
    r[k] = dot(product.data() + k * b_.cols, b_.row(block[k]), b_.cols);
  }
}

void FactoredRows::add(const Index* block, const float* signs, Index count, float* u) const {
  for (Index p = 0; p < b_.cols; ++p) {
    for (Index k = 0; k < count; ++k) {
      axpy(signs[k] * b_.row(block[k])[p], a_.row(block[k]), u + p * a_.cols, a_.cols);
    }
  }
}

void FactoredRows::add_groups(const Index* labels, MatrixView<double> sums, int threads) const {
  std::vector<std::vector<Index>> members(static_cast<std::size_t>(sums.rows));
  for (Index i = 0; i < size(); ++i) {
    if (labels[i] >= 0) members[labels[i]].push_back(i);
  }
  // Columns of b are shared out, not rows: each sum then runs in row order on any threads.
  parallel_ranges(b_.cols, threads, [&](Index begin, Index end) {
    for (Index g = 0; g < sums.rows; ++g) {
      const auto count = static_cast<Index>(members[g].size());
      for (Index first = 0; first < count; first += kBatch) {
        const Index batch = std::min(kBatch, count - first);
        const Index* rows = members[g].data() + first;
        add_outer_products(pointers(b_, rows, batch).data(), begin, end,
                           pointers(a_, rows, batch).data(), a_.cols, batch, sums.row(g));
      }
    }
  });
}

void FactoredRows::squared_norms(double* q, int threads) const {
  parallel_ranges(size(), threads, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      q[i] = squared_norm(b_.row(i), b_.cols) * squared_norm(a_.row(i), a_.cols);
    }
  });
}

}  // namespace dprune
