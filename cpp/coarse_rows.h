// Rows in eight bits: inner products at a quarter of the reading, good enough to tell which flips
// are worth an exact one.
//
//   S_ij ~= scale_i c_j Z_ij,   Z_ij in -127..127,   c_j = max_i |S_ij| / ||S_i||
//
//   <S_i, u> ~= scale_i sum_j Z_ij round(c_j u_j)    with c_j u_j in fourteen bits
//
// Where the entries of u are alike, as those of a walk's sum in its metric are, rounding is off by
// a share sqrt(sum_j c_j^2) / 440 of the spread of <S_i, u>: by 1 % on Gaussian rows, at most by 10
// % for N = 2,000. A cold walk refuses nearly every proposal, and reading the rows for it is all
// that it does.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "rows.h"

namespace dprune {

class CoarseRows {
 public:
  // Room for so many rows, to be filled in; rows gives the columns' scales.
  CoarseRows(const Rows& rows, Index room);

  // These rows take the places from `first` on.
  void fill(Index first, const Index* block, Index count);

  // The vector of the inner products, rounded.
  struct Rounded {
    std::vector<std::int16_t> numbers;
    float unit = 0.0F;
  };
  void round(const float* u, Rounded& rounded) const;

  // r[a] ~= <S_i, u> for the rows in places first..first + count.
  void dots(Index first, Index count, const Rounded& u, float* r) const;

 private:
  const Rows& rows_;
  std::vector<float> columns_;  // c_j
  std::unique_ptr<std::int8_t[]> numbers_;
  std::vector<float> scales_;
};

}  // namespace dprune
