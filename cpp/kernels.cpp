#include "kernels.h"

#include <cstring>

#include "simd.h"

namespace dprune {
namespace {

// Sums run in so many accumulators, whatever the vectors hold.
constexpr Index kFloatSums = 64;
constexpr Index kDoubleSums = 8;

constexpr std::uint32_t kLanes[] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

struct Dot {
  template <class V, class T>
  static DPRUNE_INLINE float run(const T* a, const float* b, Index size) {
    constexpr Index kVectors = kFloatSums / V::kFloats;
    constexpr Index kQuarter = kVectors / 4;
    typename V::Float sum[kVectors] = {};
    typename V::Float x, y;
    Index j = 0;
    for (; j + kFloatSums <= size; j += kFloatSums) {
#pragma GCC unroll 16
      for (Index k = 0; k < kVectors; ++k) {
        V::load(a + j + k * V::kFloats, x);
        V::load(b + j + k * V::kFloats, y);
        sum[k] += x * y;
      }
    }
#pragma GCC unroll 4
    for (Index k = 0; k < kQuarter; ++k) {
      sum[k] = (sum[k] + sum[kQuarter + k]) + (sum[2 * kQuarter + k] + sum[3 * kQuarter + k]);
    }
    for (; j + kFloatSums / 4 <= size; j += kFloatSums / 4) {
#pragma GCC unroll 4
      for (Index k = 0; k < kQuarter; ++k) {
        V::load(a + j + k * V::kFloats, x);
        V::load(b + j + k * V::kFloats, y);
        sum[k] += x * y;
      }
    }
    float result = 0.0F;
    for (; j < size; ++j) result += to_float(a[j]) * b[j];
#pragma GCC unroll 4
    for (Index k = 0; k < kQuarter; ++k) {
      for (Index l = 0; l < V::kFloats; ++l) result += sum[k][l];
    }
    return result;
  }
};

struct CoarseDot {
  template <class V>
  static DPRUNE_INLINE float run(const std::int8_t* a, const std::int16_t* b, Index size) {
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
};

// To the nearest, ties away from zero.
struct RoundNumbers {
  template <class V, class T>
  static DPRUNE_INLINE void run(const float* x, float factor, T* rounded, Index size) {
    for (Index j = 0; j < size; ++j) {
      const float y = factor * x[j];
      rounded[j] = static_cast<T>(static_cast<std::int32_t>(y + __builtin_copysignf(0.5F, y)));
    }
  }
};

struct AddRows {
  template <class V, class T>
  static DPRUNE_INLINE void run(const T* const* rows, const float* weights, Index count, float* u,
                                Index size) {
    Index a = 0;
    for (; a + 4 <= count; a += 4) add<V, 4>(rows + a, weights + a, u, size);
    for (; a < count; ++a) add<V, 1>(rows + a, weights + a, u, size);
  }

 private:
  template <class V, Index kRows, class T>
  static DPRUNE_INLINE void add(const T* const* rows, const float* weights, float* u, Index size) {
    Index j = 0;
    for (; j + V::kFloats <= size; j += V::kFloats) {
      typename V::Float sum, x;
      V::load(u + j, sum);
#pragma GCC unroll 4
      for (Index a = 0; a < kRows; ++a) {
        V::load(rows[a] + j, x);
        sum += weights[a] * x;
      }
      std::memcpy(u + j, &sum, sizeof sum);
    }
    for (; j < size; ++j) {
      for (Index a = 0; a < kRows; ++a) u[j] += weights[a] * to_float(rows[a][j]);
    }
  }
};

struct NextAccepted {
  template <class V>
  static DPRUNE_INLINE Index run(const float* field, const float* sign, const float* cost,
                                 Index begin, Index size, float temperature, std::uint32_t key) {
    constexpr Index kGroup = 64;
    constexpr Index kVectors = kGroup / V::kFloats;
    for (Index start = begin / V::kFloats * V::kFloats; start < size; start += kGroup) {
      typename V::Int accepted[kVectors] = {};
      typename V::Int any = {};
      for (Index k = 0; k < kVectors && start + k * V::kFloats < size; ++k) {
        const Index at = start + k * V::kFloats;
        typename V::Float e, f, s, c;
        exponentials<V>(key, at, e);
        V::load(field + at, f);
        V::load(sign + at, s);
        V::load(cost + at, c);
        accepted[k] = s * f + c < temperature * e;
        any |= accepted[k];
      }
      std::uint64_t words[sizeof any / 8];
      std::memcpy(words, &any, sizeof any);
      std::uint64_t hit = 0;
      for (const std::uint64_t word : words) hit |= word;
      if (hit == 0) continue;
      for (Index i = begin > start ? begin : start; i < size && i < start + kGroup; ++i) {
        if (accepted[(i - start) / V::kFloats][(i - start) % V::kFloats] != 0) return i;
      }
    }
    return size;
  }

 private:
  // -log of a uniform number made from (key, lane): a 32-bit hash (Wellons' lowbias32), its upper
  // 24 bits as a float, and log by exponent and a polynomial in the mantissa (error below 1e-4).
  template <class V>
  static DPRUNE_INLINE void exponentials(std::uint32_t key, Index begin, typename V::Float& e) {
    using Float = typename V::Float;
    using Int = typename V::Int;
    typename V::Unsigned x;
    std::memcpy(&x, kLanes, sizeof x);
    x = (x + static_cast<std::uint32_t>(begin)) * 0x9e3779b9U + key;
    x ^= x >> 16;
    x *= 0x7feb352dU;
    x ^= x >> 15;
    x *= 0x846ca68bU;
    x ^= x >> 16;
    const Float uniform = __builtin_convertvector(reinterpret_cast<Int>(x >> 8), Float) + 0.5F;
    const Int bits = reinterpret_cast<Int>(uniform);
    const Float exponent = __builtin_convertvector((bits >> 23) - 127, Float);
    const Float mantissa = reinterpret_cast<Float>((bits & 0x7fffff) | 0x3f800000);
    Float log2 = mantissa * -0.0821343F + 0.649732F;
    log2 = log2 * mantissa - 2.1346F;
    log2 = log2 * mantissa + 4.0700F;
    log2 = log2 * mantissa - 2.5030F;
    e = (24.0F - exponent - log2) * 0.693147181F;
  }
};

struct AddAndFindLeast {
  template <class V>
  static DPRUNE_INLINE Index run(float alpha, const float* x, float* y, float sign,
                                 const float* cost, Index size) {
    constexpr Index kChains = 2;  // or each comparison would wait for the one before
    const typename V::Float infinite = typename V::Float{} + __builtin_inff();
    typename V::Float least[kChains] = {infinite, infinite};
    typename V::Int where[kChains] = {};
    typename V::Int lanes;
    std::memcpy(&lanes, kLanes, sizeof lanes);
    Index j = 0;
    for (; j + kChains * V::kFloats <= size; j += kChains * V::kFloats) {
#pragma GCC unroll 2
      for (Index c = 0; c < kChains; ++c) {
        const Index at = j + c * V::kFloats;
        typename V::Float step, sum, price;
        V::load(x + at, step);
        V::load(y + at, sum);
        V::load(cost + at, price);
        sum += alpha * step;
        std::memcpy(y + at, &sum, sizeof sum);
        price += sign * sum;
        const auto less = price < least[c];
        least[c] = less ? price : least[c];
        where[c] = less ? lanes + static_cast<std::int32_t>(at) : where[c];
      }
    }
    float best = __builtin_inff();
    Index found = 0;
    for (Index c = 0; c < kChains; ++c) {
      for (Index l = 0; l < V::kFloats; ++l) {
        const float price = least[c][l];
        const Index at = where[c][l];
        if (price < best || (price == best && at < found)) {
          best = price;
          found = at;
        }
      }
    }
    for (; j < size; ++j) {
      y[j] += alpha * x[j];
      const float price = sign * y[j] + cost[j];
      if (price < best) {
        best = price;
        found = j;
      }
    }
    return found;
  }
};

struct Axpy {
  template <class V>
  static DPRUNE_INLINE void run(float alpha, const float* x, float* y, Index size) {
    for (Index j = 0; j < size; ++j) y[j] += alpha * x[j];
  }
};

struct WideAxpy {
  template <class V, class T>
  static DPRUNE_INLINE void run(double alpha, const T* x, double* y, Index size) {
    Index j = 0;
    for (; j + V::kDoubles <= size; j += V::kDoubles) {
      typename V::Double part, sum;
      V::load(x + j, part);
      V::load(y + j, sum);
      sum += alpha * part;
      std::memcpy(y + j, &sum, sizeof sum);
    }
    for (; j < size; ++j) y[j] += alpha * number(x[j]);
  }

 private:
  static DPRUNE_INLINE double number(double x) { return x; }
  template <class T>
  static DPRUNE_INLINE double number(T x) {
    return static_cast<double>(to_float(x));
  }
};

struct AddOuterProducts {
  template <class V>
  static DPRUNE_INLINE void run(const float* const* B, Index begin, Index end,
                                const float* const* A, Index width_a, Index count, double* U) {
    for (Index first = 0; first < count; first += kMost) {
      const Index some = count - first < kMost ? count - first : kMost;
      Index p = begin;
      for (; p + 4 <= end; p += 4) add<V, 4>(B + first, p, A + first, width_a, some, U);
      for (; p < end; ++p) add<V, 1>(B + first, p, A + first, width_a, some, U);
    }
  }

 private:
  // So many at once: their factors stay in the cache.
  static constexpr Index kMost = 64;

  // Rows p..p + kRows of U.
  template <class V, Index kRows>
  static DPRUNE_INLINE void add(const float* const* B, Index p, const float* const* A,
                                Index width_a, Index count, double* U) {
    double weights[kMost * kRows];
    for (Index i = 0; i < count; ++i) {
      for (Index r = 0; r < kRows; ++r) weights[i * kRows + r] = static_cast<double>(B[i][p + r]);
    }
    Index q = 0;
    for (; q + 2 * V::kDoubles <= width_a; q += 2 * V::kDoubles) {
      typename V::Double sum[2 * kRows], low, high;
#pragma GCC unroll 4
      for (Index r = 0; r < kRows; ++r) {
        V::load(U + (p + r) * width_a + q, sum[2 * r]);
        V::load(U + (p + r) * width_a + q + V::kDoubles, sum[2 * r + 1]);
      }
      for (Index i = 0; i < count; ++i) {
        V::load(A[i] + q, low);
        V::load(A[i] + q + V::kDoubles, high);
#pragma GCC unroll 4
        for (Index r = 0; r < kRows; ++r) {
          sum[2 * r] += weights[i * kRows + r] * low;
          sum[2 * r + 1] += weights[i * kRows + r] * high;
        }
      }
#pragma GCC unroll 4
      for (Index r = 0; r < kRows; ++r) {
        std::memcpy(U + (p + r) * width_a + q, &sum[2 * r], sizeof low);
        std::memcpy(U + (p + r) * width_a + q + V::kDoubles, &sum[2 * r + 1], sizeof high);
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
};

struct SquaredNorm {
  template <class V, class T>
  static DPRUNE_INLINE double run(const T* a, Index size) {
    constexpr Index kVectors = kDoubleSums / V::kDoubles;
    typename V::Double sum[kVectors] = {};
    typename V::Double x;
    Index j = 0;
    for (; j + kDoubleSums <= size; j += kDoubleSums) {
#pragma GCC unroll 4
      for (Index k = 0; k < kVectors; ++k) {
        V::load(a + j + k * V::kDoubles, x);
        sum[k] += x * x;
      }
    }
    double result = 0.0;
    for (; j < size; ++j) result += square(a[j]);
#pragma GCC unroll 4
    for (Index k = 0; k < kVectors; ++k) {
      for (Index l = 0; l < V::kDoubles; ++l) result += sum[k][l];
    }
    return result;
  }

 private:
  static DPRUNE_INLINE double square(double x) { return x * x; }
  template <class T>
  static DPRUNE_INLINE double square(T x) {
    return square(static_cast<double>(to_float(x)));
  }
};

}  // namespace

float dot(const float* a, const float* b, Index size) { return dispatch<Dot>(a, b, size); }
float dot(const Half* a, const float* b, Index size) { return dispatch<Dot>(a, b, size); }
float dot(const BFloat16* a, const float* b, Index size) { return dispatch<Dot>(a, b, size); }

float coarse_dot(const std::int8_t* a, const std::int16_t* b, Index size) {
  return dispatch<CoarseDot>(a, b, size);
}
void round_numbers(const float* x, float factor, std::int8_t* rounded, Index size) {
  dispatch<RoundNumbers>(x, factor, rounded, size);
}
void round_numbers(const float* x, float factor, std::int16_t* rounded, Index size) {
  dispatch<RoundNumbers>(x, factor, rounded, size);
}

void add_rows(const float* const* rows, const float* weights, Index count, float* u, Index size) {
  dispatch<AddRows>(rows, weights, count, u, size);
}
void add_rows(const Half* const* rows, const float* weights, Index count, float* u, Index size) {
  dispatch<AddRows>(rows, weights, count, u, size);
}
void add_rows(const BFloat16* const* rows, const float* weights, Index count, float* u,
              Index size) {
  dispatch<AddRows>(rows, weights, count, u, size);
}

Index next_accepted(const float* field, const float* sign, const float* cost, Index begin,
                    Index size, float temperature, std::uint32_t key) {
  return dispatch<NextAccepted>(field, sign, cost, begin, size, temperature, key);
}

Index add_and_find_least(float alpha, const float* x, float* y, float sign, const float* cost,
                         Index size) {
  return dispatch<AddAndFindLeast>(alpha, x, y, sign, cost, size);
}

void axpy(float alpha, const float* x, float* y, Index size) { dispatch<Axpy>(alpha, x, y, size); }
void axpy(double alpha, const float* x, double* y, Index size) {
  dispatch<WideAxpy>(alpha, x, y, size);
}
void axpy(double alpha, const Half* x, double* y, Index size) {
  dispatch<WideAxpy>(alpha, x, y, size);
}
void axpy(double alpha, const BFloat16* x, double* y, Index size) {
  dispatch<WideAxpy>(alpha, x, y, size);
}
void axpy(double alpha, const double* x, double* y, Index size) {
  dispatch<WideAxpy>(alpha, x, y, size);
}

void add_outer_products(const float* const* B, Index begin, Index end, const float* const* A,
                        Index width_a, Index count, double* U) {
  dispatch<AddOuterProducts>(B, begin, end, A, width_a, count, U);
}

double squared_norm(const float* a, Index size) { return dispatch<SquaredNorm>(a, size); }
double squared_norm(const Half* a, Index size) { return dispatch<SquaredNorm>(a, size); }
double squared_norm(const BFloat16* a, Index size) { return dispatch<SquaredNorm>(a, size); }
double squared_norm(const double* a, Index size) { return dispatch<SquaredNorm>(a, size); }

}  // namespace dprune
