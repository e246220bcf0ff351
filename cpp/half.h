// The two 16-bit formats that rows may be stored in, each exactly a float32 number.
#pragma once

#include <cstdint>
#include <cstring>

namespace dprune {

// IEEE binary16: 5 bits of exponent, 10 of fraction.
struct Half {
  std::uint16_t bits;
};

// The upper half of a float32 number: its 8 bits of exponent, 7 of fraction.
struct BFloat16 {
  std::uint16_t bits;
};

inline float to_float(float x) { return x; }

inline float to_float(BFloat16 x) {
  const std::uint32_t bits = static_cast<std::uint32_t>(x.bits) << 16;
  float number;
  std::memcpy(&number, &bits, sizeof number);
  return number;
}

// The exponent moves by 127 - 15; that of infinities and NaN once more. Subnormal numbers m 2^-24
// come out of a subtraction, 2^-14 (1 + m 2^-10) - 2^-14: no float32 number on the way is
// subnormal itself, which would be slow.
constexpr std::uint32_t kHalfShift = 112U << 23;
constexpr std::uint32_t kHalfExponent = 31U << 23;
constexpr std::uint32_t kHalfLeast = 113U << 23;  // the bits of 2^-14

inline float to_float(Half x) {
  const std::uint32_t magnitude = (x.bits & 0x7fffU) << 13;
  const std::uint32_t exponent = magnitude & kHalfExponent;
  const std::uint32_t sign = (x.bits & 0x8000U) << 16;
  std::uint32_t bits = magnitude + (exponent == 0               ? kHalfLeast
                                    : exponent == kHalfExponent ? 2 * kHalfShift
                                                                : kHalfShift);
  float number;
  std::memcpy(&number, &bits, sizeof number);
  if (exponent == 0) number -= 0x1p-14F;
  std::memcpy(&bits, &number, sizeof bits);
  bits |= sign;
  std::memcpy(&number, &bits, sizeof number);
  return number;
}

}  // namespace dprune
