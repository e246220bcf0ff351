#include "coarse_rows.h"

#include <algorithm>
#include <cmath>

#include "kernels.h"

namespace dprune {
namespace {

// Rows that tell the columns' scales, and the least of those beside their root mean square: a
// column that is empty in the sample must not cost a row all its precision.
constexpr Index kSample = 1024;
constexpr float kLeastColumn = 0.25F;
constexpr float kLargest = 127.0F;
constexpr float kLargestOfVector = 16383.0F;

}  // namespace

CoarseRows::CoarseRows(const Rows& rows, Index room)
    : rows_(rows),
      columns_(static_cast<std::size_t>(rows.width()), 0.0F),
      numbers_(new std::int8_t[static_cast<std::size_t>(room * rows.width() + kCoarseAhead)]),
      scales_(static_cast<std::size_t>(room), 0.0F) {
  const Index sample = std::min(kSample, rows.size());
  std::vector<float> row(columns_.size());
  for (Index k = 0; k < sample; ++k) {
    rows.read(k * rows.size() / sample, row.data());
    const double square = squared_norm(row.data(), rows.width());
    if (square == 0.0) continue;
    const auto factor = static_cast<float>(1.0 / std::sqrt(square));
    for (std::size_t j = 0; j < row.size(); ++j) {
      columns_[j] = std::max(columns_[j], factor * std::abs(row[j]));
    }
  }
  const double square = squared_norm(columns_.data(), rows.width());
  const auto least =
      kLeastColumn * static_cast<float>(std::sqrt(square / static_cast<double>(rows.width())));
  for (float& c : columns_) c = square > 0.0 ? std::max(c, least) : 1.0F;
}

void CoarseRows::fill(Index first, const Index* block, Index count) {
  const Index width = rows_.width();
  std::vector<float> row(columns_.size());
  for (Index a = 0; a < count; ++a) {
    rows_.read(block[a], row.data());
    float largest = 0.0F;
    for (Index j = 0; j < width; ++j) {
      row[j] /= columns_[j];
      largest = std::max(largest, std::abs(row[j]));
    }
    scales_[first + a] = largest / kLargest;
    const float factor = largest > 0.0F ? kLargest / largest : 0.0F;
    round_numbers(row.data(), factor, numbers_.get() + (first + a) * width, width);
  }
}

void CoarseRows::round(const float* u, Rounded& rounded) const {
  const auto width = static_cast<Index>(columns_.size());
  std::vector<float> scaled(u, u + width);
  float largest = 0.0F;
  for (Index j = 0; j < width; ++j) {
    scaled[j] *= columns_[j];
    largest = std::max(largest, std::abs(scaled[j]));
  }
  rounded.unit = largest / kLargestOfVector;
  rounded.numbers.resize(columns_.size());
  const float factor = largest > 0.0F ? kLargestOfVector / largest : 0.0F;
  round_numbers(scaled.data(), factor, rounded.numbers.data(), width);
}

void CoarseRows::dots(Index first, Index count, const Rounded& u, float* r) const {
  const auto width = static_cast<Index>(columns_.size());
  for (Index a = first; a < first + count; ++a) {
    const float sum = coarse_dot(numbers_.get() + a * width, u.numbers.data(), width);
    r[a - first] = scales_[a] * u.unit * sum;
  }
}

}  // namespace dprune
