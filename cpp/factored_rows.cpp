#include "factored_rows.h"

#include <vector>

#include "kernels.h"
#include "parallel.h"

namespace dprune {

namespace {

std::vector<const float*> pointers(MatrixView<const float> matrix, const Index* rows, Index count) {
  std::vector<const float*> found(static_cast<std::size_t>(count));
  for (Index p = 0; p < count; ++p) found[p] = matrix.row(rows[p]);
  return found;
}

}  // namespace

void FactoredRows::gram(const Index* block, Index count, float* K) const {
  std::vector<float> of_b(static_cast<std::size_t>(count * count));
  symmetric_products(pointers(b_, block, count).data(), count, b_.cols, of_b.data());
  symmetric_products(pointers(a_, block, count).data(), count, a_.cols, K);
  for (Index k = 0; k < count * count; ++k) K[k] *= of_b[k];
}

void FactoredRows::dots(const Index* block, Index count, const float* u, float* r) const {
  // A_block U^T first, a matrix product; then each row of it meets its b.
  std::vector<const float*> columns(static_cast<std::size_t>(b_.cols));
  for (Index c = 0; c < b_.cols; ++c) columns[c] = u + c * a_.cols;
  std::vector<float> products(static_cast<std::size_t>(count * b_.cols));
  inner_products(pointers(a_, block, count).data(), count, columns.data(), b_.cols, a_.cols,
                 products.data(), b_.cols);
  for (Index p = 0; p < count; ++p) {
    r[p] = dot(b_.row(block[p]), products.data() + p * b_.cols, b_.cols);
  }
}

void FactoredRows::add(const Index* block, const float* signs, Index count, float* u) const {
  for (Index p = 0; p < count; ++p) {
    const float* b = b_.row(block[p]);
    for (Index c = 0; c < b_.cols; ++c) {
      axpy(signs[p] * b[c], a_.row(block[p]), u + c * a_.cols, a_.cols);
    }
  }
}

void FactoredRows::add_groups(const Index* labels, MatrixView<double> sums, int threads) const {
  // Each thread has its own part of u, over all rows in order: the same bits for any number.
  parallel_ranges(b_.cols, threads, [&](Index begin, Index end) {
    for (Index i = 0; i < b_.rows; ++i) {
      if (labels[i] < 0) continue;
      for (Index c = begin; c < end; ++c) {
        axpy(static_cast<double>(b_.row(i)[c]), a_.row(i), sums.row(labels[i]) + c * a_.cols,
             a_.cols);
      }
    }
  });
}

void FactoredRows::squared_norms(double* q, int threads) const {
  parallel_ranges(b_.rows, threads, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) {
      q[i] = squared_norm(b_.row(i), b_.cols) * squared_norm(a_.row(i), a_.cols);
    }
  });
}

}  // namespace dprune
