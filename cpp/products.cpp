#include "products.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#include "simd.h"

namespace dprune {
namespace {

// A matrix product packs its rows in slivers of 32, number k of all of them side by side, for
// `kDepth` numbers at a time: a sliver is then 24 KB.
constexpr Index kSliver = 32;
constexpr Index kDepth = 192;

// Half of a and half of b, blocks of `kHalf` numbers by turns: the first ones of each pair, or the
// second ones.
template <class V, int kHalf, int... kLane>
DPRUNE_INLINE void exchange(typename V::Float& a, typename V::Float& b,
                            std::integer_sequence<int, kLane...>) {
  constexpr int kOther = sizeof...(kLane);
  const typename V::Float x = a, y = b;
  a = __builtin_shufflevector(x, y, ((kLane & kHalf) ? kLane - kHalf + kOther : kLane)...);
  b = __builtin_shufflevector(x, y, ((kLane & kHalf) ? kLane + kOther : kLane + kHalf)...);
}

// Lane l of x[k] and lane k of x[l] change places: rounds of exchanging halves.
template <class V, int kHalf = V::kFloats / 2>
DPRUNE_INLINE void transpose(typename V::Float* x) {
  constexpr auto kLanes = std::make_integer_sequence<int, V::kFloats>();
#pragma GCC unroll 16
  for (int k = 0; k < V::kFloats; ++k) {
    if ((k & kHalf) == 0) exchange<V, kHalf>(x[k], x[k + kHalf], kLanes);
  }
  if constexpr (kHalf > 1) transpose<V, kHalf / 2>(x);
}

// packed[(j - begin) * 32 + a] = rows[a][j]; the last row stands in for those beyond `count`.
struct PackSliver {
  template <class V, class T>
  static DPRUNE_INLINE void run(const T* const* rows, Index count, Index begin, Index end,
                                float* packed) {
    for (Index some = 0; some < kSliver; some += V::kFloats) {
      const T* row[V::kFloats];
      for (Index k = 0; k < V::kFloats; ++k) {
        row[k] = rows[some + k < count ? some + k : count - 1];
      }
      float* to = packed + some;
      Index j = begin;
      for (; j + V::kFloats <= end; j += V::kFloats, to += V::kFloats * kSliver) {
        typename V::Float x[V::kFloats];
#pragma GCC unroll 16
        for (Index k = 0; k < V::kFloats; ++k) V::load(row[k] + j, x[k]);
        transpose<V>(x);
#pragma GCC unroll 16
        for (Index k = 0; k < V::kFloats; ++k) std::memcpy(to + k * kSliver, &x[k], sizeof x[k]);
      }
      for (; j < end; ++j, to += kSliver) {
        for (Index k = 0; k < V::kFloats; ++k) to[k] = to_float(row[k][j]);
      }
    }
  }
};

// One sliver times another, rows x columns of C: C = A B^T, or C += A B^T after the first piece.
struct Multiply {
  template <class V>
  static DPRUNE_INLINE void run(const float* A, Index rows, const float* B, Index columns,
                                Index depth, float* C, Index stride, bool first) {
    constexpr Index kWidth = 2 * V::kFloats;
    // Each row's two vectors, two of B and a number of A stay in registers.
    constexpr Index kTile = V::kRegisters == 32 ? 8 : 6;
    // Tiles of equal height, as near as may be.
    const Index tiles = (rows + kTile - 1) / kTile;
    const Index height = (rows + tiles - 1) / tiles;
    for (Index b = 0; b < columns; b += kWidth) {
      for (Index a = 0; a < rows; a += height) {
        tall<V, kTile>(A + a, rows - a < height ? rows - a : height, B + b,
                       columns - b < kWidth ? columns - b : kWidth, depth, C + a * stride + b,
                       stride, first);
      }
    }
  }

 private:
  template <class V, Index kRows>
  static DPRUNE_INLINE void tall(const float* A, Index rows, const float* B, Index columns,
                                 Index depth, float* C, Index stride, bool first) {
    if constexpr (kRows > 1) {
      if (rows < kRows) {
        tall<V, kRows - 1>(A, rows, B, columns, depth, C, stride, first);
        return;
      }
    }
    constexpr Index kWidth = 2 * V::kFloats;
    if (columns == kWidth) {
      tile<V, kRows>(A, B, depth, C, stride, first);
      return;
    }
    float whole[kRows * kWidth];
    tile<V, kRows>(A, B, depth, whole, kWidth, true);
    for (Index a = 0; a < kRows; ++a) {
      for (Index b = 0; b < columns; ++b) {
        float& c = C[a * stride + b];
        c = (first ? 0.0F : c) + whole[a * kWidth + b];
      }
    }
  }

  template <class V, Index kRows>
  static DPRUNE_INLINE void tile(const float* A, const float* B, Index depth, float* C,
                                 Index stride, bool first) {
    typename V::Float sum[2 * kRows] = {};
    typename V::Float y0, y1;
    for (Index k = 0; k < depth; ++k) {
      V::load(B + k * kSliver, y0);
      V::load(B + k * kSliver + V::kFloats, y1);
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
        V::load(c, y0);
        V::load(c + V::kFloats, y1);
        sum[2 * a] += y0;
        sum[2 * a + 1] += y1;
      }
      std::memcpy(c, &sum[2 * a], sizeof y0);
      std::memcpy(c + V::kFloats, &sum[2 * a + 1], sizeof y1);
    }
  }
};

void multiply(const float* A, Index rows, const float* B, Index columns, Index depth, float* C,
              Index stride, bool first) {
  dispatch<Multiply>(A, rows, B, columns, depth, C, stride, first);
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
      dispatch<PackSliver>(rows + a, std::min(kSliver, count - a), begin, end, of(a));
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

}  // namespace dprune
