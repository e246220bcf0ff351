// Counter-based random numbers: number t of stream s under a seed is a function of (seed, s, t)
// alone, so that results do not depend on which thread drew them.
//
// The function is SplitMix64 (Steele, Lea, Flood, OOPSLA 2014), whose state is a counter already;
// streams start at hashed positions of its sequence of 2^64.
#pragma once

#include <cstdint>

#include "matrix.h"

namespace dprune {

constexpr std::uint64_t mix64(std::uint64_t z) {
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
  return z ^ (z >> 31);
}

class Random {
 public:
  Random(std::uint64_t seed, std::uint64_t stream)
      : counter_(mix64(mix64(seed + kGamma) ^ mix64(stream * kGamma + 1))) {}

  std::uint64_t bits() { return mix64(counter_ += kGamma); }

  // Uniform in [0, 1), 24 bits: exact in a float.
  float uniform() { return static_cast<float>(bits() >> 40) * 0x1p-24F; }

  // Uniform in {0, ..., bound - 1} (Lemire's multiplication; the bias is below bound / 2^32).
  Index below(Index bound) {
    const auto high = bits() >> 32;
    return static_cast<Index>((high * static_cast<std::uint64_t>(bound)) >> 32);
  }

 private:
  static constexpr std::uint64_t kGamma = 0x9e3779b97f4a7c15ULL;
  std::uint64_t counter_;
};

}  // namespace dprune
