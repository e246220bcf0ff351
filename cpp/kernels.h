// The vector loops everything else is built from.
//
// Each loop is compiled once per instruction set (simd.h). Sums run in a fixed number of
// accumulators that are added in a fixed order, so that every instruction set gives the same bits.
#pragma once

#include <cstdint>

#include "half.h"
#include "matrix.h"

namespace dprune {

// <a, b>
float dot(const float* a, const float* b, Index size);
float dot(const Half* a, const float* b, Index size);
float dot(const BFloat16* a, const float* b, Index size);

// sum_j a_j b_j in whole numbers, |b_j| < 2^14; and the rounding that gives them, round(factor x).
// Fetches ahead what is so far behind the numbers a, which must belong to them.
constexpr Index kCoarseAhead = 4096;
float coarse_dot(const std::int8_t* a, const std::int16_t* b, Index size);
void round_numbers(const float* x, float factor, std::int8_t* rounded, Index size);
void round_numbers(const float* x, float factor, std::int16_t* rounded, Index size);

// u += sum_a weights[a] rows[a], in this order.
void add_rows(const float* const* rows, const float* weights, Index count, float* u, Index size);
void add_rows(const Half* const* rows, const float* weights, Index count, float* u, Index size);
void add_rows(const BFloat16* const* rows, const float* weights, Index count, float* u, Index size);

// One pass of a Metropolis walk, from sample `begin` on: the first sample i whose proposed flip is
// accepted, or size. The flip costs sign_i field_i + cost_i and is accepted when that is below
// temperature * E_i with E_i = -log(uniform), a function of (key, i) alone.
Index next_accepted(const float* field, const float* sign, const float* cost, Index begin,
                    Index size, float temperature, std::uint32_t key);

// y += alpha x, and the first index at which sign y + cost is least.
Index add_and_find_least(float alpha, const float* x, float* y, float sign, const float* cost,
                         Index size);

// y += alpha x
void axpy(float alpha, const float* x, float* y, Index size);

// y += alpha x, accumulated in float64: the certificates' loop.
void axpy(double alpha, const float* x, double* y, Index size);
void axpy(double alpha, const Half* x, double* y, Index size);
void axpy(double alpha, const BFloat16* x, double* y, Index size);
void axpy(double alpha, const double* x, double* y, Index size);

// U[p * width_a + q] += sum_i B_i[p] A_i[q] in float64, for columns begin..end of B.
void add_outer_products(const float* const* B, Index begin, Index end, const float* const* A,
                        Index width_a, Index count, double* U);

// <a, a> in float64
double squared_norm(const float* a, Index size);
double squared_norm(const Half* a, Index size);
double squared_norm(const BFloat16* a, Index size);
double squared_norm(const double* a, Index size);

}  // namespace dprune
