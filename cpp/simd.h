// Vectors of each width, and the choice of one when the library is loaded.
//
// A kernel is a struct with `template <class V> static run(...)`, written for vectors V of any
// width; `dispatch<Kernel>(...)` calls the copy that was compiled for this processor. A vector
// wider than the registers would be kept in memory, so each instruction set gets its own width.
#pragma once

#include <cstdint>
#include <cstring>

#include "half.h"
#include "matrix.h"

#define DPRUNE_INLINE inline __attribute__((always_inline))

namespace dprune {

template <int kBytes>
struct Vectors;

// One by one: a size that depends on a template's parameter is not taken for a vector's everywhere.
#define DPRUNE_VECTORS(bytes)                                                  \
  template <>                                                                  \
  struct Vectors<bytes> {                                                      \
    using Float = float __attribute__((vector_size(bytes)));                   \
    using Double = double __attribute__((vector_size(bytes)));                 \
    using Int = std::int32_t __attribute__((vector_size(bytes)));              \
    using Unsigned = std::uint32_t __attribute__((vector_size(bytes)));        \
    using HalfShort = std::uint16_t __attribute__((vector_size((bytes) / 2))); \
  };
DPRUNE_VECTORS(64)
DPRUNE_VECTORS(32)
DPRUNE_VECTORS(16)
DPRUNE_VECTORS(8)
#undef DPRUNE_VECTORS

template <int kBytes>
struct Simd {
  using Float = typename Vectors<kBytes>::Float;
  using Double = typename Vectors<kBytes>::Double;
  using Int = typename Vectors<kBytes>::Int;
  using Unsigned = typename Vectors<kBytes>::Unsigned;

  static constexpr Index kFloats = kBytes / 4;
  static constexpr Index kDoubles = kBytes / 8;
  // AVX-512 has twice the registers.
  static constexpr Index kRegisters = kBytes == 64 ? 32 : 16;

  static DPRUNE_INLINE void load(const float* from, Float& to) {
    std::memcpy(&to, from, sizeof to);
  }

  static DPRUNE_INLINE void load(const double* from, Double& to) {
    std::memcpy(&to, from, sizeof to);
  }

  static DPRUNE_INLINE void load(const BFloat16* from, Float& to) {
    Unsigned bits;
    load_bits(from, bits);
    to = reinterpret_cast<Float>(bits << 16);
  }

  // to_float(Half), one vector at a time.
  static DPRUNE_INLINE void load(const Half* from, Float& to) {
    Unsigned bits;
    load_bits(from, bits);
    const Unsigned magnitude = (bits & 0x7fffU) << 13;
    const Unsigned exponent = magnitude & kHalfExponent;
    const Unsigned infinite = reinterpret_cast<Unsigned>(exponent == kHalfExponent) & kHalfShift;
    const Float normal = reinterpret_cast<Float>(magnitude + kHalfShift + infinite);
    const Float subnormal = reinterpret_cast<Float>(magnitude + kHalfLeast) - 0x1p-14F;
    const Float number = exponent == 0 ? subnormal : normal;
    to = reinterpret_cast<Float>(reinterpret_cast<Unsigned>(number) | (bits & 0x8000U) << 16);
  }

  // Widened to float64, half as many.
  template <class T>
  static DPRUNE_INLINE void load(const T* from, Double& to) {
    typename Simd<kBytes / 2>::Float narrow;
    Simd<kBytes / 2>::load(from, narrow);
    to = __builtin_convertvector(narrow, Double);
  }

 private:
  static DPRUNE_INLINE void load_bits(const void* from, Unsigned& to) {
    typename Vectors<kBytes>::HalfShort bits;
    std::memcpy(&bits, from, sizeof bits);
    to = __builtin_convertvector(bits, Unsigned);
  }
};

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)

enum class InstructionSet { kSse2, kAvx2, kAvx512 };

inline const InstructionSet instruction_set =
    __builtin_cpu_supports("x86-64-v4")   ? InstructionSet::kAvx512
    : __builtin_cpu_supports("x86-64-v3") ? InstructionSet::kAvx2
                                          : InstructionSet::kSse2;

template <class Kernel, class... Arguments>
__attribute__((target("arch=x86-64-v4"))) auto with_avx512(Arguments... arguments) {
  return Kernel::template run<Simd<64>>(arguments...);
}

template <class Kernel, class... Arguments>
__attribute__((target("arch=x86-64-v3"))) auto with_avx2(Arguments... arguments) {
  return Kernel::template run<Simd<32>>(arguments...);
}

template <class Kernel, class... Arguments>
auto dispatch(Arguments... arguments) {
  switch (instruction_set) {
    case InstructionSet::kAvx512:
      return with_avx512<Kernel>(arguments...);
    case InstructionSet::kAvx2:
      return with_avx2<Kernel>(arguments...);
    default:
      return Kernel::template run<Simd<16>>(arguments...);
  }
}

#else

template <class Kernel, class... Arguments>
auto dispatch(Arguments... arguments) {
  return Kernel::template run<Simd<16>>(arguments...);
}

#endif

}  // namespace dprune
