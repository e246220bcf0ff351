#include "factored_rows.h"

#include "kernels.h"
#include "parallel.h"

namespace dprune {

void FactoredRows::gram(const Index* block, Index count, float* K) const {
  for (Index p = 0; p < count; ++p) {
    for (Index q = 0; q <= p; ++q) {
      const float value = dot(b_.row(block[p]), b_.row(block[q]), b_.cols) *
                          dot(a_.row(block[p]), a_.row(block[q]), a_.cols);
      K[p * count + q] = value;
      K[q * count + p] = value;
    }
  }
}

void FactoredRows::dots(const Index* block, Index count, const float* u, float* r) const {
  for (Index p = 0; p < count; ++p) {
    const float* b = b_.row(block[p]);
    float sum = 0.0F;
    for (Index c = 0; c < b_.cols; ++c) {
      sum += b[c] * dot(u + c * a_.cols, a_.row(block[p]), a_.cols);
    }
    r[p] = sum;
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
