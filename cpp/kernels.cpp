#include "kernels.h"

#include <cstring>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
#define DPRUNE_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
#else
#define DPRUNE_CLONES
#endif

namespace dprune {
namespace {

// 64 bytes that the compiler splits into whatever registers the instruction set has.
using Float16 = float __attribute__((vector_size(64)));
using Double8 = double __attribute__((vector_size(64)));

constexpr Index kFloats = 16;
constexpr Index kDoubles = 8;

}  // namespace

DPRUNE_CLONES float dot(const float* a, const float* b, Index size) {
  Float16 sum[4] = {};
  Index j = 0;
  for (; j + 4 * kFloats <= size; j += 4 * kFloats) {
    for (Index k = 0; k < 4; ++k) {
      Float16 x, y;
      std::memcpy(&x, a + j + k * kFloats, sizeof x);
      std::memcpy(&y, b + j + k * kFloats, sizeof y);
      sum[k] += x * y;
    }
  }
  Float16 total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  for (; j + kFloats <= size; j += kFloats) {
    Float16 x, y;
    std::memcpy(&x, a + j, sizeof x);
    std::memcpy(&y, b + j, sizeof y);
    total += x * y;
  }
  float result = 0.0F;
  for (; j < size; ++j) result += a[j] * b[j];
  for (Index k = 0; k < kFloats; ++k) result += total[k];
  return result;
}

DPRUNE_CLONES void axpy(float alpha, const float* x, float* y, Index size) {
  for (Index j = 0; j < size; ++j) y[j] += alpha * x[j];
}

DPRUNE_CLONES void axpy(double alpha, const float* x, double* y, Index size) {
  for (Index j = 0; j < size; ++j) y[j] += alpha * static_cast<double>(x[j]);
}

DPRUNE_CLONES void axpy(double alpha, const double* x, double* y, Index size) {
  for (Index j = 0; j < size; ++j) y[j] += alpha * x[j];
}

DPRUNE_CLONES double squared_norm(const float* a, Index size) {
  Double8 sum = {};
  Index j = 0;
  for (; j + kDoubles <= size; j += kDoubles) {
    for (Index k = 0; k < kDoubles; ++k) {
      const auto x = static_cast<double>(a[j + k]);
      sum[k] += x * x;
    }
  }
  double result = 0.0;
  for (; j < size; ++j) result += static_cast<double>(a[j]) * static_cast<double>(a[j]);
  for (Index k = 0; k < kDoubles; ++k) result += sum[k];
  return result;
}

DPRUNE_CLONES double squared_norm(const double* a, Index size) {
  Double8 sum = {};
  Index j = 0;
  for (; j + kDoubles <= size; j += kDoubles) {
    Double8 x;
    std::memcpy(&x, a + j, sizeof x);
    sum += x * x;
  }
  double result = 0.0;
  for (; j < size; ++j) result += a[j] * a[j];
  for (Index k = 0; k < kDoubles; ++k) result += sum[k];
  return result;
}

}  // namespace dprune
