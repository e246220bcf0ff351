#include "kernels.h"

#include <cstring>

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

// A matrix product works on 4 x 4 inner products at once, in pieces of this width: eight such
// pieces of rows stay in the first-level cache.
constexpr Index kTile = 4;
constexpr Index kPiece = 1024;

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

// Lane k of sum[0] becomes the sum of all lanes of sum[k]: four rounds of halving.
DPRUNE_INLINE void add_lanes(Float16* sum) {
  for (Index k = 0; k < 8; ++k) {
    const Float16 a = sum[2 * k], b = sum[2 * k + 1];
    sum[k] =
        __builtin_shufflevector(a, b, 0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23) +
        __builtin_shufflevector(a, b, 8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31);
  }
  for (Index k = 0; k < 4; ++k) {
    const Float16 a = sum[2 * k], b = sum[2 * k + 1];
    sum[k] =
        __builtin_shufflevector(a, b, 0, 1, 2, 3, 8, 9, 10, 11, 16, 17, 18, 19, 24, 25, 26, 27) +
        __builtin_shufflevector(a, b, 4, 5, 6, 7, 12, 13, 14, 15, 20, 21, 22, 23, 28, 29, 30, 31);
  }
  for (Index k = 0; k < 2; ++k) {
    const Float16 a = sum[2 * k], b = sum[2 * k + 1];
    sum[k] =
        __builtin_shufflevector(a, b, 0, 1, 4, 5, 8, 9, 12, 13, 16, 17, 20, 21, 24, 25, 28, 29) +
        __builtin_shufflevector(a, b, 2, 3, 6, 7, 10, 11, 14, 15, 18, 19, 22, 23, 26, 27, 30, 31);
  }
  const Float16 a = sum[0], b = sum[1];
  sum[0] =
      __builtin_shufflevector(a, b, 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30) +
      __builtin_shufflevector(a, b, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31);
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

template <class T>
DPRUNE_INLINE void widen_of(const T* from, float* to, Index size) {
  Index j = 0;
  for (; j + kFloats <= size; j += kFloats) {
    Float16 x;
    load(from + j, x);
    std::memcpy(to + j, &x, sizeof x);
  }
  for (; j < size; ++j) to[j] = to_float(from[j]);
}

}  // namespace

DPRUNE_CLONES float dot(const float* a, const float* b, Index size) { return dot_of(a, b, size); }
DPRUNE_CLONES float dot(const Half* a, const float* b, Index size) { return dot_of(a, b, size); }
DPRUNE_CLONES float dot(const BFloat16* a, const float* b, Index size) {
  return dot_of(a, b, size);
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

DPRUNE_CLONES void widen(const Half* from, float* to, Index size) { widen_of(from, to, size); }
DPRUNE_CLONES void widen(const BFloat16* from, float* to, Index size) { widen_of(from, to, size); }

DPRUNE_CLONES DPRUNE_FUSED void inner_products(const float* const* A, Index count_a,
                                               const float* const* B, Index count_b, Index width,
                                               float* C, Index stride) {
  for (Index piece = 0; piece < width; piece += kPiece) {
    const Index end = piece + kPiece < width ? piece + kPiece : width;
    for (Index a = 0; a < count_a; a += kTile) {
      for (Index b = 0; b < count_b; b += kTile) {
        // At the edges the last row stands in for those beyond it.
        const float* x[kTile];
        const float* y[kTile];
        for (Index k = 0; k < kTile; ++k) {
          x[k] = A[a + k < count_a ? a + k : count_a - 1];
          y[k] = B[b + k < count_b ? b + k : count_b - 1];
        }
        Float16 sum[kTile * kTile] = {};
        Float16 p[kTile], q;
        Index j = piece;
        for (; j + kFloats <= end; j += kFloats) {
          for (Index k = 0; k < kTile; ++k) load(x[k] + j, p[k]);
          for (Index l = 0; l < kTile; ++l) {
            load(y[l] + j, q);
            for (Index k = 0; k < kTile; ++k) sum[k * kTile + l] += p[k] * q;
          }
        }
        if (j < end) {
          const auto bytes = static_cast<std::size_t>(end - j) * sizeof(float);
          for (Index k = 0; k < kTile; ++k) {
            p[k] = Float16{};
            std::memcpy(&p[k], x[k] + j, bytes);
          }
          for (Index l = 0; l < kTile; ++l) {
            q = Float16{};
            std::memcpy(&q, y[l] + j, bytes);
            for (Index k = 0; k < kTile; ++k) sum[k * kTile + l] += p[k] * q;
          }
        }
        add_lanes(sum);
        for (Index k = 0; k < kTile && a + k < count_a; ++k) {
          for (Index l = 0; l < kTile && b + l < count_b; ++l) {
            float& c = C[(a + k) * stride + b + l];
            c = (piece == 0 ? 0.0F : c) + sum[0][k * kTile + l];
          }
        }
      }
    }
  }
}

void symmetric_products(const float* const* A, Index count, Index width, float* K) {
  constexpr Index kPanel = 32;
  for (Index a = 0; a < count; a += kPanel) {
    const Index end = a + kPanel < count ? a + kPanel : count;
    inner_products(A + a, end - a, A, end, width, K + a * count, count);
    for (Index i = a; i < end; ++i) {
      for (Index j = 0; j < i; ++j) K[j * count + i] = K[i * count + j];
    }
  }
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

DPRUNE_CLONES void add_outer_products(const float* const* B, Index begin, Index end,
                                      const float* const* A, Index width_a, Index count,
                                      double* U) {
  for (Index p = begin; p < end; ++p) {
    double* row = U + p * width_a;
    Index q = 0;
    for (; q + 4 * kDoubles <= width_a; q += 4 * kDoubles) {
      Double8 sum[4];
      std::memcpy(sum, row + q, sizeof sum);
      for (Index i = 0; i < count; ++i) {
        const auto b = static_cast<double>(B[i][p]);
        for (Index k = 0; k < 4; ++k) {
          for (Index l = 0; l < kDoubles; ++l) {
            sum[k][l] += b * static_cast<double>(A[i][q + k * kDoubles + l]);
          }
        }
      }
      std::memcpy(row + q, sum, sizeof sum);
    }
    for (; q < width_a; ++q) {
      for (Index i = 0; i < count; ++i) {
        row[q] += static_cast<double>(B[i][p]) * static_cast<double>(A[i][q]);
      }
    }
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
