#include "scaled_rows.h"

namespace dprune::cuda {

ScaledRows::ScaledRows(const DenseRows& rows, const std::vector<float>& scale)
    : ChainRows(rows.machine()),
      rows_(rows),
      scale_(scale),
      on_machine_(rows.machine(), "a scale"),
      work_(rows.machine(), "scaled sums or rows") {
  on_machine_.write(scale.data(), static_cast<Index>(scale.size()));
}

void ScaledRows::load(const Index* rows, Index count, Index first, bool consecutive) const {
  rows_.load(rows, count, first, consecutive);
}

void ScaledRows::loaded_gram(float* K) const {
  const Matrix block = rows_.loaded();
  const Index b = block.rows;
  const Index N = block.cols;
  float* scaled = work_.reserve(b * N);
  machine().run(ScaleColumns{block, on_machine_.data(), false, scaled});
  machine().product({Type::kFloat32, false, true, b, b, N, scaled, N, scaled, N, K, b, 0.0});
}

void ScaledRows::loaded_dots(const float* U, Index chains, float* R) const {
  float* scaled = work_.reserve(chains * width());
  machine().run(
      ScaleColumns{{U, Type::kFloat32, chains, width()}, on_machine_.data(), false, scaled});
  rows_.loaded_dots(scaled, chains, R);
}

void ScaledRows::loaded_add(const float* signs, Index chains, float* U) const {
  float* sums = work_.zeros(chains * width());
  rows_.loaded_add(signs, chains, sums);
  machine().run(ScaleColumns{{sums, Type::kFloat32, chains, width()}, on_machine_.data(), true, U});
}

void ScaledRows::dots(const double* v, double* out) const {
  std::vector<double> scaled(scale_.size());
  for (std::size_t j = 0; j < scaled.size(); ++j) scaled[j] = static_cast<double>(scale_[j]) * v[j];
  rows_.dots(scaled.data(), out);
}

void ScaledRows::squared_norms(double* q, int /*threads*/) const {
  std::vector<double> squares(scale_.size());
  for (std::size_t j = 0; j < squares.size(); ++j) {
    squares[j] = static_cast<double>(scale_[j]) * static_cast<double>(scale_[j]);
  }
  rows_.weighted_norms(squares.data(), q);
}

void ScaledRows::sum_rows(const Index* order, const Index* begin, Index groups,
                          const double* weights, bool square, double* sums) const {
  rows_.sum_rows(order, begin, groups, weights, square, sums);
  for (Index g = 0; g < groups; ++g) {
    for (Index j = 0; j < width(); ++j) {
      const auto x = static_cast<double>(scale_[j]);
      sums[g * width() + j] *= square ? x * x : x;
    }
  }
}

}  // namespace dprune::cuda
