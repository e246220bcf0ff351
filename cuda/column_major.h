// Row-major products as BLAS takes them: C^T = op(B)^T op(A)^T, column by column.
#pragma once

#include "machine.h"

namespace dprune::cuda {

// C (rows x columns) = op(left) op(right), column-major.
struct ColumnMajor {
  bool transpose_left, transpose_right;
  int rows, columns, terms;
  const void* left;
  int stride_left;
  const void* right;
  int stride_right;
  int stride_out;
};

inline ColumnMajor column_major(const Product& p) {
  const auto fits = [](Index x) {
    if (x > 0x7fffffff) throw std::invalid_argument("a matrix product is too large for BLAS");
    return static_cast<int>(x);
  };
  return {p.transpose_b, p.transpose_a, fits(p.n), fits(p.m),   fits(p.k),
          p.B,           fits(p.ldb),   p.A,       fits(p.lda), fits(p.ldc)};
}

}  // namespace dprune::cuda
