// Prints what every vector loop gives, bit by bit, for tests/test_instruction_sets.py.
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <vector>

#include "kernels.h"
#include "rng.h"

using namespace dprune;

namespace {

template <class T>
void print(const char* name, Index size, const T* values, std::size_t count) {
  std::uint64_t digest = 0;
  for (std::size_t k = 0; k < count; ++k) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, values + k, sizeof(T));
    digest = mix64(digest ^ bits) + k;
  }
  std::printf("%s %td %016llx\n", name, size, static_cast<unsigned long long>(digest));
}

template <class T>
void loops(const char* type, Index size, const std::vector<T>& a, const std::vector<float>& b) {
  std::printf("%s ", type);
  const float product = dot(a.data(), b.data(), size);
  print("dot", size, &product, 1);
  const double square = squared_norm(a.data(), size);
  print("squared_norm", size, &square, 1);
  std::vector<float> u(b);
  const T* rows[] = {a.data(), a.data(), a.data(), a.data(), a.data()};
  const float weights[] = {1.0F, -1.0F, 0.3F, 2.0F, -0.7F};
  add_rows(rows, weights, 5, u.data(), size);
  print("add_rows", size, u.data(), u.size());
  std::vector<double> y(b.begin(), b.end());
  axpy(0.37, a.data(), y.data(), size);
  print("axpy", size, y.data(), y.size());
}

}  // namespace

int main() {
  for (const Index size : {1, 7, 16, 63, 64, 100, 333, 1000}) {
    Random random(1, static_cast<std::uint64_t>(size));
    const auto count = static_cast<std::size_t>(size);
    std::vector<float> a(count), b(count), c(count);
    std::vector<Half> half(count);
    std::vector<BFloat16> brain(count);
    std::vector<std::int8_t> coarse(count);
    std::vector<std::int16_t> fine(count);
    for (std::size_t k = 0; k < count; ++k) {
      a[k] = random.uniform() - 0.5F;
      b[k] = random.uniform() - 0.5F;
      c[k] = random.uniform();
      half[k].bits = static_cast<std::uint16_t>(0x3000 + random.below(0x1000));
      brain[k].bits = static_cast<std::uint16_t>(0x3e00 + random.below(0x200));
    }
    loops("float32", size, a, b);
    loops("float16", size, half, b);
    loops("bfloat16", size, brain, b);

    std::vector<float> y(b);
    axpy(0.37F, a.data(), y.data(), size);
    print("axpy", size, y.data(), count);
    const Index least = add_and_find_least(0.37F, a.data(), y.data(), -1.0F, c.data(), size);
    print("add_and_find_least", size, &least, 1);
    print("add_and_find_least", size, y.data(), count);
    const Index next = next_accepted(a.data(), b.data(), c.data(), 0, size, 0.1F, 12345);
    print("next_accepted", size, &next, 1);
    round_numbers(a.data(), 100.0F, coarse.data(), size);
    round_numbers(b.data(), 9000.0F, fine.data(), size);
    print("round_numbers", size, coarse.data(), count);
    print("round_numbers", size, fine.data(), count);
    std::vector<std::int8_t> padded(coarse);
    padded.resize(count + static_cast<std::size_t>(kCoarseAhead) + 64);
    const float rough = coarse_dot(padded.data(), fine.data(), size);
    print("coarse_dot", size, &rough, 1);
    const float* B[] = {a.data(), b.data()};
    const float* A[] = {b.data(), c.data()};
    std::vector<double> outer(count * count);
    add_outer_products(B, 0, size, A, size, 2, outer.data());
    print("add_outer_products", size, outer.data(), outer.size());
  }
}
