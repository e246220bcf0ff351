// The hot loops of the core beside what the machine can do, one thread; compiled and run by
// roofline.py. Every line is the best of several rounds, ceiling and loop in turn, and each loop's
// answer is checked against a plain float64 one before it is timed.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <vector>

#include "dense_rows.h"
#include "factored_rows.h"
#include "gradients.h"
#include "kernels.h"
#include "rng.h"
#include "simd.h"

using namespace dprune;

namespace {

// Processor time of this thread: what other processes take is not counted.
double now() {
  timespec time;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) + 1e-9 * static_cast<double>(time.tv_nsec);
}

volatile float sink;

// ---- ceilings -----------------------------------------------------------------------------------

// Independent fused multiplications and additions, two float32 operations each. This file is
// compiled so that they are.
struct Fused {
  template <class V>
  static DPRUNE_INLINE double run(long rounds) {
    constexpr int kSums = V::kRegisters == 32 ? 16 : 12;
    typename V::Float sum[kSums];
#pragma GCC unroll 16
    for (int k = 0; k < kSums; ++k) sum[k] = typename V::Float{} + static_cast<float>(k);
    const auto a = typename V::Float{} + 0.999F;
    const auto b = typename V::Float{} + 1e-3F;
    for (long r = 0; r < rounds; ++r) {
#pragma GCC unroll 16
      for (int k = 0; k < kSums; ++k) sum[k] = sum[k] * a + b;
    }
#pragma GCC unroll 16
    for (int k = 0; k < kSums; ++k) sink = sum[k][0];
    return static_cast<double>(2 * kSums * V::kFloats * rounds);
  }
};

// Independent float64 multiplications and additions, not fused: what certificates are made of.
struct Unfused {
  template <class V>
  static DPRUNE_INLINE double run(long rounds) {
    constexpr int kPairs = V::kRegisters == 32 ? 12 : 6;
    typename V::Double product[kPairs], sum[kPairs];
#pragma GCC unroll 12
    for (int k = 0; k < kPairs; ++k) {
      sum[k] = typename V::Double{} + static_cast<double>(k);
      product[k] = sum[k] + 1.0;
    }
    const auto a = typename V::Double{} + 0.999999;
    const auto b = typename V::Double{} + 1e-3;
    for (long r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
      for (int k = 0; k < kPairs; ++k) {
        product[k] *= a;
        sum[k] += b;
      }
    }
#pragma GCC unroll 12
    for (int k = 0; k < kPairs; ++k) sink = static_cast<float>(sum[k][0] + product[k][0]);
    return static_cast<double>(2 * kPairs * V::kDoubles * rounds);
  }
};

// Sums of numbers in memory: what reading alone costs.
struct Read {
  template <class V>
  static DPRUNE_INLINE double run(const float* x, Index size) {
    typename V::Float sum[8] = {};
    for (Index j = 0; j + 8 * V::kFloats <= size; j += 8 * V::kFloats) {
#pragma GCC unroll 8
      for (int k = 0; k < 8; ++k) {
        typename V::Float part;
        V::load(x + j + k * V::kFloats, part);
        sum[k] += part;
      }
    }
#pragma GCC unroll 8
    for (int k = 0; k < 8; ++k) sink = sum[k][0];
    return static_cast<double>(size) * sizeof(float);
  }
};

// ---- the table ----------------------------------------------------------------------------------

struct Ceiling {
  const char* name;
  const char* unit;             // of work: "GFLOP" or "GB"
  std::function<double()> run;  // returns the work done
};

struct Loop {
  const char* name;
  const Ceiling* ceiling;
  std::function<double(int)> run;  // round -> work done
};

double rate(const std::function<double()>& run) {
  const double start = now();
  const double work = run();
  return work / (now() - start) / 1e9;
}

void check(const char* name, double found, double expected, double scale) {
  if (!(std::fabs(found - expected) <= 1e-5 * scale)) {
    std::printf("%s: found %g, expected %g\n", name, found, expected);
    std::exit(1);
  }
}

std::vector<float> numbers(Index size, std::uint64_t seed) {
  std::vector<float> x(static_cast<std::size_t>(size));
  Random random(seed, 0);
  for (float& value : x) value = static_cast<float>(2.0 * random.uniform() - 1.0);
  return x;
}

}  // namespace

int main() {
  constexpr Index n = 65536;  // rows
  constexpr Index N = 2048;   // numbers a row: 512 MB in all, far beyond the caches
  constexpr Index b = 256;    // rows a block
  constexpr Index blocks = n / b;
  const auto S = numbers(n * N, 1);
  const auto u = numbers(N, 2);
  std::vector<std::uint16_t> bits(S.size());
  for (std::size_t k = 0; k < S.size(); ++k) {
    std::uint32_t x;
    __builtin_memcpy(&x, &S[k], sizeof x);
    bits[k] = static_cast<std::uint16_t>(x >> 16);
  }
  const DenseRows<float> rows({S.data(), n, N});
  const DenseRows<BFloat16> brain({reinterpret_cast<const BFloat16*>(bits.data()), n, N});
  const DenseRows<Half> half({reinterpret_cast<const Half*>(bits.data()), n, N});
  std::vector<Index> block(b);
  const auto choose = [&](int round) {
    for (Index a = 0; a < b; ++a) block[a] = (round * b + a) % n;
  };

  const Ceiling fma{"FMA", "GFLOP", [] { return dispatch<Fused>(100000L); }};
  const Ceiling certificate{"unfused", "GFLOP", [] { return dispatch<Unfused>(50000L); }};
  const Ceiling memory{"DRAM", "GB", [&] {
                         // Another 16 MB each time.
                         static Index part = 0;
                         part = (part + 5) % 32;
                         return dispatch<Read>(S.data() + part * (n / 32) * N, n / 32 * N);
                       }};
  std::vector<float> near = numbers(b * N, 3);  // 2 MB
  const Ceiling second{"L2", "GB", [&] {
                         double work = 0.0;
                         for (int k = 0; k < 4; ++k) work += dispatch<Read>(near.data(), b * N / 4);
                         return work;
                       }};
  const Ceiling first{"L1", "GB", [&] {
                        double work = 0.0;
                        for (int k = 0; k < 1000; ++k)
                          work += dispatch<Read>(near.data(), Index{4096});
                        return work;
                      }};

  std::vector<float> K(b * b);
  std::vector<float> r(b);
  std::vector<float> total(u);
  std::vector<float> signs(b, 1.0F);
  for (Index a = 0; a < b; a += 2) signs[a] = -1.0F;

  // Factored rows in F2's shape.
  constexpr Index k = 199;
  constexpr Index d = 2049;
  constexpr Index fn = 8192;
  const auto fb = numbers(fn * k, 4);
  const auto fa = numbers(fn * d, 5);
  const FactoredRows factored({fb.data(), fn, k}, {fa.data(), fn, d});
  std::vector<float> U = numbers(k * d, 6);
  const auto choose_factored = [&](int round) {
    for (Index a = 0; a < b; ++a) block[a] = (round * b + a) % fn;
  };

  choose(3);
  rows.gram(block.data(), b, K.data());
  rows.dots(block.data(), b, u.data(), r.data());
  double gram = 0.0;
  double dots = 0.0;
  for (Index j = 0; j < N; ++j) {
    gram += static_cast<double>(S[block[5] * N + j]) * static_cast<double>(S[block[90] * N + j]);
    dots += static_cast<double>(S[block[5] * N + j]) * static_cast<double>(u[j]);
  }
  check("gram", K[5 * b + 90], gram, N);
  check("dots", r[5], dots, N);
  rows.add(block.data(), signs.data(), b, total.data());
  double sum = u[7];
  for (Index a = 0; a < b; ++a)
    sum += static_cast<double>(signs[a]) * static_cast<double>(S[block[a] * N + 7]);
  check("add", total[7], sum, b);
  choose_factored(3);
  factored.dots(block.data(), b, U.data(), r.data());
  dots = 0.0;
  for (Index p = 0; p < k; ++p) {
    for (Index q = 0; q < d; ++q) {
      dots += static_cast<double>(fb[block[5] * k + p]) *
              static_cast<double>(fa[block[5] * d + q]) * static_cast<double>(U[p * d + q]);
    }
  }
  check("factored dots", r[5], dots, k * d);

  // 77 of 256 rows change at a hot visit.
  constexpr Index changes = 77;
  std::vector<Index> labels(n, 0);
  std::vector<double> sums(N, 0.0);
  std::vector<double> norms(n);
  std::vector<Index> some(fn, -1);
  for (Index i = 0; i < 256; ++i) some[i] = 0;
  std::vector<double> wide(k * d, 0.0);
  const auto field = numbers(1 << 20, 7);
  std::vector<float> sign(1 << 20, 1.0F);
  std::vector<float> cost(1 << 20, 2.0F);
  const auto logits = numbers(n * 10, 8);
  std::vector<float> gradients(4096 * 10 * 257);
  std::vector<Index> classes(n, 3);

  const std::vector<Loop> loops = {
      {"gram, 256 rows from DRAM", &fma,
       [&](int round) {
         choose(round);
         rows.gram(block.data(), b, K.data());
         return static_cast<double>(b * b * N);
       }},
      {"gram, bfloat16", &fma,
       [&](int round) {
         choose(round);
         brain.gram(block.data(), b, K.data());
         return static_cast<double>(b * b * N);
       }},
      {"dots, 256 rows from DRAM", &memory,
       [&](int round) {
         choose(round);
         rows.dots(block.data(), b, u.data(), r.data());
         return 4.0 * b * N;
       }},
      {"dots, bfloat16", &memory,
       [&](int round) {
         choose(round);
         brain.dots(block.data(), b, u.data(), r.data());
         return 2.0 * b * N;
       }},
      {"dots, float16", &memory,
       [&](int round) {
         choose(round);
         half.dots(block.data(), b, u.data(), r.data());
         return 2.0 * b * N;
       }},
      {"add, 77 rows read just before", &second,
       [&](int) {
         choose(0);
         for (int rep = 0; rep < 4; ++rep) {
           rows.add(block.data(), signs.data(), changes, total.data());
         }
         return 4 * 4.0 * changes * N;
       }},
      {"axpy, a row of K", &first,
       [&](int) {
         for (int rep = 0; rep < 2000; ++rep) axpy(1e-3F, K.data(), r.data(), b);
         return 2000 * 8.0 * b;
       }},
      {"squared_norms", &memory,
       [&](int round) {
         const Index at = round % 32 * (n / 32);
         squared_norms(MatrixView<const float>{S.data() + at * N, n / 32, N}, norms.data(), 1);
         return 4.0 * n / 32 * N;
       }},
      {"add_groups (certificate)", &memory,
       [&](int round) {
         const Index at = round % 32 * (n / 32);
         add_groups(MatrixView<const float>{S.data() + at * N, n / 32, N}, labels.data(),
                    MatrixView<double>{sums.data(), 1, N}, 1);
         return 4.0 * n / 32 * N;
       }},
      {"factored dots, F2", &fma,
       [&](int round) {
         choose_factored(round);
         factored.dots(block.data(), b, U.data(), r.data());
         return 2.0 * b * k * d;
       }},
      {"factored add, F2, 77 rows", &fma,
       [&](int round) {
         choose_factored(round);
         factored.add(block.data(), signs.data(), changes, U.data());
         return 2.0 * changes * k * d;
       }},
      {"factored add_groups, F2 (float64)", &certificate,
       [&](int) {
         factored.add_groups(some.data(), {wide.data(), 1, k * d}, 1);
         return 2.0 * 256 * k * d;
       }},
      {"gradients, 4096 x 10 x 257", &memory,
       [&](int round) {
         const Index at = round % 8 * 4096;
         last_layer_gradients(MatrixView<const float>{S.data() + at * 256, 4096, 256},
                              MatrixView<const float>{logits.data(), 4096, 10}, classes.data(),
                              MatrixView<float>{gradients.data(), 4096, 10 * 257}, 1);
         return 4.0 * (4096.0 * 256 + 2 * 4096.0 * 10 * 257);  // a store reads its line first
       }},
  };

  std::printf("%-36s %10s   %-8s %10s %8s\n", "loop", "achieved", "ceiling", "", "share");
  for (const Loop& loop : loops) {
    double best = 0.0;
    double ceiling = 0.0;
    for (int round = 0; round < 40; ++round) {
      best = std::max(best, rate([&] { return loop.run(round * 7 % static_cast<int>(blocks)); }));
      ceiling = std::max(ceiling, rate(loop.ceiling->run));
    }
    std::printf("%-36s %10.1f   %-8s %10.1f %7.0f%%  %s/s\n", loop.name, best, loop.ceiling->name,
                ceiling, 100.0 * best / ceiling, loop.ceiling->unit);
    std::fflush(stdout);
  }

  // Proposals: no float operations to speak of, so beside the proposals of a walk that reads a row
  // of this width from the caches for each.
  double proposals = 0.0;
  double plain = 0.0;
  for (int round = 0; round < 40; ++round) {
    proposals = std::max(proposals, rate([&] {
                           double work = 0.0;
                           for (int rep = 0; rep < 500; ++rep) {
                             next_accepted(field.data(), sign.data(), cost.data(), 0, b, 1e-9F,
                                           static_cast<std::uint32_t>(rep));
                             work += b;
                           }
                           return work;
                         }));
    plain = std::max(plain, rate([&] {
                       double work = 0.0;
                       for (Index i = 0; i < 2048; ++i) {
                         rows.dots(&i, 1, u.data(), r.data());
                         work += 1.0;
                       }
                       return work;
                     }));
  }
  std::printf(
      "next_accepted: %.2f G proposals/s; one inner product of %lld numbers each: %.4f G/s\n",
      proposals, static_cast<long long>(N), plain);
  return 0;
}
