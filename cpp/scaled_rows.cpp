#include "scaled_rows.h"

#include <stdexcept>
#include <utility>

#include "kernels.h"
#include "parallel.h"
#include "products.h"

namespace dprune {
namespace {

// y *= x
void multiply(const std::vector<float>& x, float* y) {
  for (std::size_t j = 0; j < x.size(); ++j) y[j] *= x[j];
}

}  // namespace

ScaledRows::ScaledRows(const Rows& rows, std::vector<float> scale)
    : rows_(rows), scale_(std::move(scale)) {
  if (static_cast<Index>(scale_.size()) != rows.width()) {
    throw std::invalid_argument("scale must have an entry for each column of the rows");
  }
}

std::vector<float> ScaledRows::gather(const Index* block, Index count) const {
  std::vector<float> rows(static_cast<std::size_t>(count * width()));
  for (Index a = 0; a < count; ++a) {
    float* row = rows.data() + a * width();
    rows_.read(block[a], row);
    multiply(scale_, row);
  }
  return rows;
}

void ScaledRows::gram(const Index* block, Index count, float* K) const {
  const auto rows = gather(block, count);
  std::vector<const float*> row(static_cast<std::size_t>(count));
  for (Index a = 0; a < count; ++a) row[a] = rows.data() + a * width();
  symmetric_products(row.data(), count, width(), K);
}

void ScaledRows::dots(const Index* block, Index count, const float* u, float* r) const {
  std::vector<float> scaled(u, u + width());
  multiply(scale_, scaled.data());
  rows_.dots(block, count, scaled.data(), r);
}

void ScaledRows::add(const Index* block, const float* signs, Index count, float* u) const {
  std::vector<float> sum(static_cast<std::size_t>(width()), 0.0F);
  rows_.add(block, signs, count, sum.data());
  multiply(scale_, sum.data());
  axpy(1.0F, sum.data(), u, width());
}

void ScaledRows::add_groups(const Index* labels, MatrixView<double> sums, int threads) const {
  std::vector<double> fresh(static_cast<std::size_t>(sums.rows * sums.cols), 0.0);
  rows_.add_groups(labels, {fresh.data(), sums.rows, sums.cols}, threads);
  for (Index g = 0; g < sums.rows; ++g) {
    for (Index j = 0; j < sums.cols; ++j) {
      sums.row(g)[j] += static_cast<double>(scale_[j]) * fresh[g * sums.cols + j];
    }
  }
}

void ScaledRows::squared_norms(double* q, int threads) const {
  parallel_ranges(size(), threads, [&](Index begin, Index end) {
    std::vector<float> row(static_cast<std::size_t>(width()));
    for (Index i = begin; i < end; ++i) {
      rows_.read(i, row.data());
      multiply(scale_, row.data());
      q[i] = squared_norm(row.data(), width());
    }
  });
}

}  // namespace dprune
