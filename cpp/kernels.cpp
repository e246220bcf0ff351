#include "kernels.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <vector>

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__linux__)
#define DPRUNE_CLONES __attribute__((target_clones("arch=x86-64-v4", "arch=x86-64-v3", "default")))
// Lets a product and a sum become one instruction where there is one: twice the speed of a matrix
// product, at the price of other last bits on processors without it.
#define DPRUNE_FUSED __attribute__((optimize("fp-contract=fast")))
#else
#define DPRUNE_CLONES
#define DPRUNE_FUSED
#endif
#define DPRUNE_INLINE inline __attribute__((always_inline))

namespace dprune {
namespace {

// 64 bytes that the compiler splits into whatever registers the instruction set has.
using Float16 = float __attribute__((vector_size(64)));
using Double8 = double __attribute__((vector_size(64)));

using Int16 = std::int32_t __attribute__((vector_size(64)));
using Unsigned16 = std::uint32_t __attribute__((vector_size(64)));
using Short16 = std::uint16_t __attribute__((vector_size(32)));

constexpr Index kFloats = 16;
constexpr Index kDoubles = 8;

// A matrix product packs its rows in slivers of 32, number k of all of them side by side, for
// `kDepth` numbers at a time: a sliver is then 24 KB. It works on 8 x 32 inner products at once.
constexpr Index kSliver = 32;
constexpr Index kTile = 8;
constexpr Index kDepth = 192;

DPRUNE_INLINE void load(const float* from, Float16& to) { std::memcpy(&to, from, sizeof to); }

DPRUNE_INLINE void load_bits(const void* from, Unsigned16& to) {
  Short16 bits;
  std::memcpy(&bits, from, sizeof bits);
  to = __builtin_convertvector(bits, Unsigned16);
}

DPRUNE_INLINE void load(const BFloat16* from, Float16& to) {
  Unsigned16 bits;
  load_bits(from, bits);
  to = reinterpret_cast<Float16>(bits << 16);
}

// to_float(Half), sixteen at a time.
DPRUNE_INLINE void load(const Half* from, Float16& to) {
  Unsigned16 bits;
  load_bits(from, bits);
  const Unsigned16 magnitude = (bits & 0x7fffU) << 13;
  const Unsigned16 exponent = magnitude & kHalfExponent;
  const Unsigned16 infinite = reinterpret_cast<Unsigned16>(exponent == kHalfExponent) & kHalfShift;
  const Float16 normal = reinterpret_cast<Float16>(magnitude + kHalfShift + infinite);
  const Float16 subnormal = reinterpret_cast<Float16>(magnitude + kHalfLeast) - 0x1p-14F;
  const Float16 number = exponent == 0 ? subnormal : normal;
  to = reinterpret_cast<Float16>(reinterpret_cast<Unsigned16>(number) | (bits & 0x8000U) << 16);
}

DPRUNE_INLINE void split(const Float16& x, Double8& low, Double8& high) {
  using Float8 = float __attribute__((vector_size(32)));
  Float8 parts[2];
  std::memcpy(parts, &x, sizeof parts);
  low = __builtin_convertvector(parts[0], Double8);
  high = __builtin_convertvector(parts[1], Double8);
}

// Lane l of x[k] and lane k of x[l] change places: four rounds of exchanging halves.
DPRUNE_INLINE void transpose(Float16* x) {
  for (Index k = 0; k < 8; ++k) {
    const Float16 a = x[k], b = x[k + 8];
    x[k] = __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23);
    x[k + 8] =
        __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  }
  for (Index g = 0; g < 16; g += 8) {
    for (Index k = g; k < g + 4; ++k) {
      const Float16 a = x[k], b = x[k + 4];
      x[k] =
          __builtin_shufflevector(a, b, 0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27);
      x[k + 4] =
          __builtin_shufflevector(a, b, 4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31);
    }
  }
  for (Index g = 0; g < 16; g += 4) {
    for (Index k = g; k < g + 2; ++k) {
      const Float16 a = x[k], b = x[k + 2];
      x[k] =
          __builtin_shufflevector(a, b, 0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29);
      x[k + 2] =
          __builtin_shufflevector(a, b, 2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31);
    }
  }
  for (Index k = 0; k < 16; k += 2) {
    const Float16 a = x[k], b = x[k + 1];
    x[k] = __builtin_shufflevector(a, b, 0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30);
    x[k + 1] =
        __builtin_shufflevector(a, b, 1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31);
  }
}

template <class T>
DPRUNE_INLINE float dot_of(const T* a, const float* b, Index size) {
  Float16 sum[4] = {};
  Float16 x, y;
  Index j = 0;
  for (; j + 4 * kFloats <= size; j += 4 * kFloats) {
    for (Index k = 0; k < 4; ++k) {
      load(a + j + k * kFloats, x);
      load(b + j + k * kFloats, y);
      sum[k] += x * y;
    }
  }
  Float16 total = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  for (; j + kFloats <= size; j += kFloats) {
    load(a + j, x);
    load(b + j, y);
    total += x * y;
  }
  float result = 0.0F;
  for (; j < size; ++j) result += to_float(a[j]) * b[j];
  for (Index k = 0; k < kFloats; ++k) result += total[k];
  return result;
}

// To the nearest, ties away from zero.
template <class T>
DPRUNE_INLINE void round_numbers_of(const float* x, float factor, T* rounded, Index size) {
  for (Index j = 0; j < size; ++j) {
    const float y = factor * x[j];
    rounded[j] = static_cast<T>(static_cast<std::int32_t>(y < 0.0F ? y - 0.5F : y + 0.5F));
  }
}

template <Index kRows, class T>
DPRUNE_INLINE void add_some(const T* const* rows, const float* weights, float* u, Index size) {
  Index j = 0;
  for (; j + kFloats <= size; j += kFloats) {
    Float16 sum, x;
    load(u + j, sum);
    for (Index a = 0; a < kRows; ++a) {
      load(rows[a] + j, x);
      sum += weights[a] * x;
    }
    std::memcpy(u + j, &sum, sizeof sum);
  }
  for (; j < size; ++j) {
    for (Index a = 0; a < kRows; ++a) u[j] += weights[a] * to_float(rows[a][j]);
  }
}

template <class T>
DPRUNE_INLINE void add_rows_of(const T* const* rows, const float* weights, Index count, float* u,
                               Index size) {
  Index a = 0;
  for (; a + 4 <= count; a += 4) add_some<4>(rows + a, weights + a, u, size);
  for (; a < count; ++a) add_some<1>(rows + a, weights + a, u, size);
}

template <class T>
DPRUNE_INLINE void axpy_of(double alpha, const T* x, double* y, Index size) {
  Index j = 0;
  for (; j + kFloats <= size; j += kFloats) {
    Float16 part;
    Double8 low, high, sum[2];
    load(x + j, part);
    split(part, low, high);
    std::memcpy(sum, y + j, sizeof sum);
    sum[0] += alpha * low;
    sum[1] += alpha * high;
    std::memcpy(y + j, sum, sizeof sum);
  }
  for (; j < size; ++j) y[j] += alpha * static_cast<double>(to_float(x[j]));
}

template <class T>
DPRUNE_INLINE double squared_norm_of(const T* a, Index size) {
  Double8 sum = {};
  Index j = 0;
  for (; j + kFloats <= size; j += kFloats) {
    Float16 part;
    Double8 low, high;
    load(a + j, part);
    split(part, low, high);
    sum += low * low;
    sum += high * high;
  }
  double result = 0.0;
  for (; j < size; ++j) {
    const auto x = static_cast<double>(to_float(a[j]));
    result += x * x;
  }
  for (Index k = 0; k < kDoubles; ++k) result += sum[k];
  return result;
}

// packed[(j - begin) * 32 + a] = rows[a][j]; the last row stands in for those beyond `count`.
template <class T>
DPRUNE_INLINE void pack_of(const T* const* rows, Index count, Index begin, Index end,
                           float* packed) {
  for (Index half = 0; half < kSliver; half += kFloats) {
    const T* row[kFloats];
    for (Index k = 0; k < kFloats; ++k) row[k] = rows[half + k < count ? half + k : count - 1];
    float* to = packed + half;
    Index j = begin;
    for (; j + kFloats <= end; j += kFloats, to += kFloats * kSliver) {
      Float16 x[kFloats];
      for (Index k = 0; k < kFloats; ++k) load(row[k] + j, x[k]);
      transpose(x);
      for (Index k = 0; k < kFloats; ++k) std::memcpy(to + k * kSliver, &x[k], sizeof x[k]);
    }
    for (; j < end; ++j, to += kSliver) {
      for (Index k = 0; k < kFloats; ++k) to[k] = to_float(row[k][j]);
    }
  }
}

// Some rows of a sliver times another sliver: C = A B^T, or C += A B^T after the first piece.
template <Index kRows>
DPRUNE_INLINE void multiply_tile(const float* A, const float* B, Index depth, float* C,
                                 Index stride, bool first) {
  Float16 sum[2 * kRows] = {};
  Float16 y0, y1;
  for (Index k = 0; k < depth; ++k) {
    load(B + k * kSliver, y0);
    load(B + k * kSliver + kFloats, y1);
#pragma GCC unroll 8
    for (Index a = 0; a < kRows; ++a) {
      sum[2 * a] += A[k * kSliver + a] * y0;
      sum[2 * a + 1] += A[k * kSliver + a] * y1;
    }
  }
#pragma GCC unroll 8
  for (Index a = 0; a < kRows; ++a) {
    float* c = C + a * stride;
    if (!first) {
      load(c, y0);
      load(c + kFloats, y1);
      sum[2 * a] += y0;
      sum[2 * a + 1] += y1;
    }
    std::memcpy(c, &sum[2 * a], sizeof y0);
    std::memcpy(c + kFloats, &sum[2 * a + 1], sizeof y1);
  }
}

template <Index kRows>
DPRUNE_INLINE void multiply_rows(const float* A, const float* B, Index columns, Index depth,
                                 float* C, Index stride, bool first) {
  if (columns == kSliver) {
    multiply_tile<kRows>(A, B, depth, C, stride, first);
    return;
  }
  float tile[kRows * kSliver];
  multiply_tile<kRows>(A, B, depth, tile, kSliver, true);
  for (Index a = 0; a < kRows; ++a) {
    for (Index b = 0; b < columns; ++b) {
      float& c = C[a * stride + b];
      c = (first ? 0.0F : c) + tile[a * kSliver + b];
    }
  }
}

DPRUNE_CLONES void pack_sliver(const float* const* rows, Index count, Index begin, Index end,
                               float* packed) {
  pack_of(rows, count, begin, end, packed);
}
DPRUNE_CLONES void pack_sliver(const Half* const* rows, Index count, Index begin, Index end,
                               float* packed) {
  pack_of(rows, count, begin, end, packed);
}
DPRUNE_CLONES void pack_sliver(const BFloat16* const* rows, Index count, Index begin, Index end,
                               float* packed) {
  pack_of(rows, count, begin, end, packed);
}

// One sliver times another, rows x columns of C.
DPRUNE_CLONES DPRUNE_FUSED void multiply(const float* A, Index rows, const float* B, Index columns,
                                         Index depth, float* C, Index stride, bool first) {
  // Tiles of equal height, as near as may be.
  const Index tiles = (rows + kTile - 1) / kTile;
  const Index height = (rows + tiles - 1) / tiles;
  for (Index a = 0; a < rows; a += height) {
    float* c = C + a * stride;
    switch (rows - a < height ? rows - a : height) {
      case 8:
        multiply_rows<8>(A + a, B, columns, depth, c, stride, first);
        break;
      case 7:
        multiply_rows<7>(A + a, B, columns, depth, c, stride, first);
        break;
      case 6:
        multiply_rows<6>(A + a, B, columns, depth, c, stride, first);
        break;
      case 5:
        multiply_rows<5>(A + a, B, columns, depth, c, stride, first);
        break;
      case 4:
        multiply_rows<4>(A + a, B, columns, depth, c, stride, first);
        break;
      case 3:
        multiply_rows<3>(A + a, B, columns, depth, c, stride, first);
        break;
      case 2:
        multiply_rows<2>(A + a, B, columns, depth, c, stride, first);
        break;
      default:
        multiply_rows<1>(A + a, B, columns, depth, c, stride, first);
    }
  }
}

// A piece of a matrix, packed. Slivers lie on cache lines: a load that crosses two
// costs twice.
class Slivers {
 public:
  explicit Slivers(Index count)
      : lines_(new Line[static_cast<std::size_t>((count + kSliver - 1) / kSliver * kDepth)]) {}

  float* of(Index row) const {
    return reinterpret_cast<float*>(lines_.get() + row / kSliver * kDepth);
  }

  // Columns begin..end of the rows.
  template <class T>
  void pack(const T* const* rows, Index count, Index begin, Index end) const {
    for (Index a = 0; a < count; a += kSliver) {
      pack_sliver(rows + a, std::min(kSliver, count - a), begin, end, of(a));
    }
  }

  // The transpose: all columns of these rows, each row times its weight.
  void pack_columns(const float* const* rows, const float* weights, Index count,
                    Index width) const {
    for (Index i = 0; i < count; ++i) {
      for (Index j = 0; j < width; ++j) {
        of(j)[i * kSliver + j % kSliver] = weights[i] * rows[i][j];
      }
    }
  }

 private:
  struct alignas(64) Line {
    float numbers[kSliver];
  };
  std::unique_ptr<Line[]> lines_;
};

// K's upper triangle from its lower one, in pieces that stay in the cache.
void mirror(float* K, Index count) {
  for (Index i = 0; i < count; i += kSliver) {
    for (Index j = 0; j <= i; j += kSliver) {
      for (Index a = i; a < std::min(i + kSliver, count); ++a) {
        for (Index b = j; b < std::min(j + kSliver, a); ++b) K[b * count + a] = K[a * count + b];
      }
    }
  }
}

template <class T>
void symmetric_products_of(const T* const* A, Index count, Index width, float* K) {
  const Slivers packed(count);
  for (Index begin = 0; begin < width; begin += kDepth) {
    const Index end = std::min(begin + kDepth, width);
    packed.pack(A, count, begin, end);
    for (Index b = 0; b < count; b += kSliver) {
      for (Index a = b; a < count; a += kSliver) {
        multiply(packed.of(a), std::min(kSliver, count - a), packed.of(b),
                 std::min(kSliver, count - b), end - begin, K + a * count + b, count, begin == 0);
      }
    }
  }
  mirror(K, count);
}

}  // namespace

DPRUNE_CLONES float dot(const float* a, const float* b, Index size) { return dot_of(a, b, size); }
DPRUNE_CLONES float dot(const Half* a, const float* b, Index size) { return dot_of(a, b, size); }
DPRUNE_CLONES float dot(const BFloat16* a, const float* b, Index size) {
  return dot_of(a, b, size);
}

DPRUNE_CLONES float coarse_dot(const std::int8_t* a, const std::int16_t* b, Index size) {
  // The sum of so many products fits into 32 bits.
  constexpr Index kPiece = 512;
  constexpr Index kLine = 64;
  float total = 0.0F;
  for (Index first = 0; first < size; first += kPiece) {
    const Index end = first + kPiece < size ? first + kPiece : size;
    // Left alone, the processor fetches too little ahead: 5-6 GB/s in place of 8-9.
    for (Index j = first; j < end; j += kLine) __builtin_prefetch(a + j + kCoarseAhead);
    std::int32_t sum = 0;
    // Both as 16 bits: one instruction multiplies and adds pairs of those.
    for (Index j = first; j < end; ++j) sum += static_cast<std::int16_t>(a[j]) * b[j];
    total += static_cast<float>(sum);
  }
  return total;
}

DPRUNE_CLONES void round_numbers(const float* x, float factor, std::int8_t* rounded, Index size) {
  round_numbers_of(x, factor, rounded, size);
}

DPRUNE_CLONES void round_numbers(const float* x, float factor, std::int16_t* rounded, Index size) {
  round_numbers_of(x, factor, rounded, size);
}

DPRUNE_CLONES void add_rows(const float* const* rows, const float* weights, Index count, float* u,
                            Index size) {
  add_rows_of(rows, weights, count, u, size);
}
DPRUNE_CLONES void add_rows(const Half* const* rows, const float* weights, Index count, float* u,
                            Index size) {
  add_rows_of(rows, weights, count, u, size);
}
DPRUNE_CLONES void add_rows(const BFloat16* const* rows, const float* weights, Index count,
                            float* u, Index size) {
  add_rows_of(rows, weights, count, u, size);
}

void inner_products(const float* const* A, Index count_a, const float* const* B, Index count_b,
                    Index width, float* C, Index stride) {
  const Slivers packed_a(count_a);
  const Slivers packed_b(count_b);
  for (Index begin = 0; begin < width; begin += kDepth) {
    const Index end = std::min(begin + kDepth, width);
    packed_a.pack(A, count_a, begin, end);
    packed_b.pack(B, count_b, begin, end);
    for (Index b = 0; b < count_b; b += kSliver) {
      for (Index a = 0; a < count_a; a += kSliver) {
        multiply(packed_a.of(a), std::min(kSliver, count_a - a), packed_b.of(b),
                 std::min(kSliver, count_b - b), end - begin, C + a * stride + b, stride,
                 begin == 0);
      }
    }
  }
}

void add_products(const float* const* B, const float* weights, Index width_b, const float* const* A,
                  Index width_a, Index count, float* U) {
  const Slivers packed_b(width_b);
  const Slivers packed_a(width_a);
  const std::vector<float> ones(static_cast<std::size_t>(std::min(kDepth, count)), 1.0F);
  for (Index first = 0; first < count; first += kDepth) {
    const Index depth = std::min(kDepth, count - first);
    packed_b.pack_columns(B + first, weights + first, depth, width_b);
    packed_a.pack_columns(A + first, ones.data(), depth, width_a);
    for (Index p = 0; p < width_b; p += kSliver) {
      for (Index q = 0; q < width_a; q += kSliver) {
        multiply(packed_b.of(p), std::min(kSliver, width_b - p), packed_a.of(q),
                 std::min(kSliver, width_a - q), depth, U + p * width_a + q, width_a, false);
      }
    }
  }
}

void symmetric_products(const float* const* A, Index count, Index width, float* K) {
  symmetric_products_of(A, count, width, K);
}
void symmetric_products(const Half* const* A, Index count, Index width, float* K) {
  symmetric_products_of(A, count, width, K);
}
void symmetric_products(const BFloat16* const* A, Index count, Index width, float* K) {
  symmetric_products_of(A, count, width, K);
}

namespace {

// -log of a uniform number made from (key, lane): a 32-bit hash (Wellons' lowbias32), its upper 24
// bits as a float, and log by exponent and a polynomial in the mantissa (error below 1e-4).
DPRUNE_INLINE void exponentials(std::uint32_t key, Index begin, Float16& e) {
  const Unsigned16 lanes = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  Unsigned16 x = (lanes + static_cast<std::uint32_t>(begin)) * 0x9e3779b9U + key;
  x ^= x >> 16;
  x *= 0x7feb352dU;
  x ^= x >> 15;
  x *= 0x846ca68bU;
  x ^= x >> 16;
  const Float16 uniform = __builtin_convertvector(reinterpret_cast<Int16>(x >> 8), Float16) + 0.5F;
  const Int16 bits = reinterpret_cast<Int16>(uniform);
  const Float16 exponent = __builtin_convertvector((bits >> 23) - 127, Float16);
  const Float16 mantissa = reinterpret_cast<Float16>((bits & 0x7fffff) | 0x3f800000);
  Float16 log2 = mantissa * -0.0821343F + 0.649732F;
  log2 = log2 * mantissa - 2.1346F;
  log2 = log2 * mantissa + 4.0700F;
  log2 = log2 * mantissa - 2.5030F;
  e = (24.0F - exponent - log2) * 0.693147181F;
}

}  // namespace

DPRUNE_CLONES Index next_accepted(const float* field, const float* sign, const float* cost,
                                  Index begin, Index size, float temperature, std::uint32_t key) {
  constexpr Index kGroup = 4;
  for (Index start = begin / kFloats * kFloats; start < size; start += kGroup * kFloats) {
    Int16 accepted[kGroup] = {};
    Int16 any = {};
    for (Index k = 0; k < kGroup && start + k * kFloats < size; ++k) {
      const Index at = start + k * kFloats;
      Float16 e, f, s, c;
      exponentials(key, at, e);
      load(field + at, f);
      load(sign + at, s);
      load(cost + at, c);
      accepted[k] = s * f + c < temperature * e;
      any |= accepted[k];
    }
    bool hit = false;
    for (Index l = 0; l < kFloats; ++l) hit |= any[l] != 0;
    if (!hit) continue;
    for (Index i = begin > start ? begin : start; i < size && i < start + kGroup * kFloats; ++i) {
      if (accepted[(i - start) / kFloats][(i - start) % kFloats] != 0) return i;
    }
  }
  return size;
}

DPRUNE_CLONES void axpy(float alpha, const float* x, float* y, Index size) {
  for (Index j = 0; j < size; ++j) y[j] += alpha * x[j];
}

DPRUNE_CLONES void axpy(double alpha, const float* x, double* y, Index size) {
  axpy_of(alpha, x, y, size);
}

DPRUNE_CLONES void axpy(double alpha, const Half* x, double* y, Index size) {
  axpy_of(alpha, x, y, size);
}

DPRUNE_CLONES void axpy(double alpha, const BFloat16* x, double* y, Index size) {
  axpy_of(alpha, x, y, size);
}

DPRUNE_CLONES void axpy(double alpha, const double* x, double* y, Index size) {
  for (Index j = 0; j < size; ++j) y[j] += alpha * x[j];
}

namespace {

// Outer products added at once: their factors stay in the cache.
constexpr Index kMostOuter = 64;

// Rows p..p + kRows of U, for at most kMostOuter products.
template <Index kRows>
DPRUNE_INLINE void add_outer_rows(const float* const* B, Index p, const float* const* A,
                                  Index width_a, Index count, double* U) {
  double weights[kMostOuter * kRows];
  for (Index i = 0; i < count; ++i) {
    for (Index r = 0; r < kRows; ++r) weights[i * kRows + r] = static_cast<double>(B[i][p + r]);
  }
  Index q = 0;
  for (; q + kFloats <= width_a; q += kFloats) {
    Double8 sum[2 * kRows], low, high;
    Float16 a;
#pragma GCC unroll 4
    for (Index r = 0; r < kRows; ++r) {
      std::memcpy(&sum[2 * r], U + (p + r) * width_a + q, sizeof low);
      std::memcpy(&sum[2 * r + 1], U + (p + r) * width_a + q + kDoubles, sizeof high);
    }
    for (Index i = 0; i < count; ++i) {
      load(A[i] + q, a);
      split(a, low, high);
#pragma GCC unroll 4
      for (Index r = 0; r < kRows; ++r) {
        sum[2 * r] += weights[i * kRows + r] * low;
        sum[2 * r + 1] += weights[i * kRows + r] * high;
      }
    }
#pragma GCC unroll 4
    for (Index r = 0; r < kRows; ++r) {
      std::memcpy(U + (p + r) * width_a + q, &sum[2 * r], sizeof low);
      std::memcpy(U + (p + r) * width_a + q + kDoubles, &sum[2 * r + 1], sizeof high);
    }
  }
  for (; q < width_a; ++q) {
    for (Index r = 0; r < kRows; ++r) {
      double& sum = U[(p + r) * width_a + q];
      for (Index i = 0; i < count; ++i) {
        sum += weights[i * kRows + r] * static_cast<double>(A[i][q]);
      }
    }
  }
}

}  // namespace

DPRUNE_CLONES void add_outer_products(const float* const* B, Index begin, Index end,
                                      const float* const* A, Index width_a, Index count,
                                      double* U) {
  for (Index first = 0; first < count; first += kMostOuter) {
    const Index some = count - first < kMostOuter ? count - first : kMostOuter;
    Index p = begin;
    for (; p + 4 <= end; p += 4) add_outer_rows<4>(B + first, p, A + first, width_a, some, U);
    for (; p < end; ++p) add_outer_rows<1>(B + first, p, A + first, width_a, some, U);
  }
}

DPRUNE_CLONES double squared_norm(const float* a, Index size) { return squared_norm_of(a, size); }
DPRUNE_CLONES double squared_norm(const Half* a, Index size) { return squared_norm_of(a, size); }
DPRUNE_CLONES double squared_norm(const BFloat16* a, Index size) {
  return squared_norm_of(a, size);
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
