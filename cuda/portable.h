// What makes a function run on the host and on the device alike, and bfloat16 on both.
//
// No CUDA header is needed: g++ compiles every operation of this folder for the CPU, where the
// tests run it.
#pragma once

#include <cstdint>
#include <cstring>

#include "matrix.h"

#ifdef __CUDACC__
#define DPRUNE_HD __host__ __device__
#else
#define DPRUNE_HD
#endif

namespace dprune::cuda {

// The upper half of a float.
struct Bfloat16 {
  std::uint16_t bits;
};

enum class Type { kFloat32, kFloat64, kBfloat16 };

inline std::size_t bytes_of(Type type) {
  return type == Type::kFloat64 ? 8 : type == Type::kFloat32 ? 4 : 2;
}

DPRUNE_HD inline float to_float(float x) { return x; }
DPRUNE_HD inline float to_float(Bfloat16 x) {
  const std::uint32_t bits = static_cast<std::uint32_t>(x.bits) << 16;
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}

DPRUNE_HD inline void store(float x, float& to) { to = x; }
// To the nearest, ties to even; a NaN stays one.
DPRUNE_HD inline void store(float x, Bfloat16& to) {
  std::uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const bool nan = (bits & 0x7fffffffU) > 0x7f800000U;
  to.bits =
      nan ? 0x7fc0U : static_cast<std::uint16_t>((bits + 0x7fffU + ((bits >> 16) & 1U)) >> 16);
}

DPRUNE_HD constexpr Index ceil_div(Index a, Index b) { return (a + b - 1) / b; }

}  // namespace dprune::cuda
