// Numbers below 1e-38 count as zero on this thread while the guard lives.
//
// The features of a real network include dead ones, whose columns of S are all but zero. Products
// of two such numbers are denormal, and a processor takes a hundred times as long over those: inner
// products of rows ran three to six times slower.
#pragma once

#if defined(__SSE2__)
#include <xmmintrin.h>
#endif

namespace dprune {

class FlushDenormals {
 public:
#if defined(__SSE2__)
  FlushDenormals() : saved_(_mm_getcsr()) { _mm_setcsr(saved_ | kFlushToZero | kDenormalsAreZero); }
  ~FlushDenormals() { _mm_setcsr(saved_); }
#else
  FlushDenormals() = default;
  ~FlushDenormals() = default;
#endif
  FlushDenormals(const FlushDenormals&) = delete;
  FlushDenormals& operator=(const FlushDenormals&) = delete;

#if defined(__SSE2__)
 private:
  static constexpr unsigned kFlushToZero = 0x8000;
  static constexpr unsigned kDenormalsAreZero = 0x0040;

  unsigned saved_;
#endif
};

}  // namespace dprune
