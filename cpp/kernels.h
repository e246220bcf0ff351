// The vector loops everything else is built from, and the only file that knows of SIMD.
//
// Each loop is compiled once per instruction set and chosen when the library is loaded. Sums run
// in a fixed number of accumulators that are added in a fixed order, so that every instruction
// set gives the same bits.
#pragma once

#include "matrix.h"

namespace dprune {

// <a, b>
float dot(const float* a, const float* b, Index size);

// y += alpha x
void axpy(float alpha, const float* x, float* y, Index size);

// y += alpha x, accumulated in float64: the certificates' loop.
void axpy(double alpha, const float* x, double* y, Index size);
void axpy(double alpha, const double* x, double* y, Index size);

// <a, a> in float64
double squared_norm(const float* a, Index size);
double squared_norm(const double* a, Index size);

}  // namespace dprune
