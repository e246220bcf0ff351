#include "factored_rows.h"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "kernels.h"
#include "parallel.h"
#include "products.h"

namespace dprune {
namespace {

// Below so many rows a matrix product does not pay.
constexpr Index kFew = 8;

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
  const Index k = b_.cols;
  std::fill(r, r + count, 0.0F);
  if (count < kFew) {
    for (Index a = 0; a < count; ++a) {
      const float* b = b_.row(block[a]);
      for (Index p = 0; p < k; ++p) r[a] += b[p] * dot(a_.row(block[a]), u + p * a_.cols, a_.cols);
    }
    return;
  }
  std::vector<const float*> U(static_cast<std::size_t>(k));
  for (Index p = 0; p < k; ++p) U[p] = u + p * a_.cols;
  std::vector<float> product(static_cast<std::size_t>(k * count));
  inner_products(U.data(), k, pointers(a_, block, count).data(), count, a_.cols, product.data(),
                 count);
  for (Index p = 0; p < k; ++p) {
    for (Index a = 0; a < count; ++a) r[a] += b_.row(block[a])[p] * product[p * count + a];
  }
}

void FactoredRows::add(const Index* block, const float* signs, Index count, float* u) const {
  add_products(pointers(b_, block, count).data(), signs, b_.cols, pointers(a_, block, count).data(),
               a_.cols, count, u);
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
      const Index* rows = members[g].data();
      add_outer_products(pointers(b_, rows, count).data(), begin, end,
                         pointers(a_, rows, count).data(), a_.cols, count, sums.row(g));
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
