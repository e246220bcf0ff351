// Matrix products of a few hundred rows: in packed slivers that fit the caches, and tiles that fit
// the registers of each instruction set.
//
// Multiplication and addition are fused where the processor can, for twice the speed. On processors
// that cannot the last bits, and so block annealing's walk, are others.
#pragma once

#include "half.h"
#include "matrix.h"

namespace dprune {

// C[a * stride + b] = <A_a, B_b>: matrix product A B^T with the rows given one by one.
void inner_products(const float* const* A, Index count_a, const float* const* B, Index count_b,
                    Index width, float* C, Index stride);

// K[a * count + b] = <A_a, A_b>, for half the work.
void symmetric_products(const float* const* A, Index count, Index width, float* K);
void symmetric_products(const Half* const* A, Index count, Index width, float* K);
void symmetric_products(const BFloat16* const* A, Index count, Index width, float* K);

// U[p * width_a + q] += sum_i weights[i] B_i[p] A_i[q]
void add_products(const float* const* B, const float* weights, Index width_b, const float* const* A,
                  Index width_a, Index count, float* U);

}  // namespace dprune
