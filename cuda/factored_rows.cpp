#include "factored_rows.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <vector>

namespace dprune::cuda {
namespace {

// Rows whose float64 copies are held at once.
constexpr Index kWideRows = 8192;

}  // namespace

FactoredRows::FactoredRows(Machine& machine, const Matrix& b, const Matrix& a)
    : ChainRows(machine),
      b_(b),
      a_(a),
      gathered_a_(machine, "the rows of a block"),
      gathered_b_(machine, "the rows of a block"),
      work_(machine, "products of a block with the running sums") {
  if (b.rows != a.rows) throw std::invalid_argument("a and b must have the same number of rows");
  if (a.type != Type::kFloat32 || b.type != Type::kFloat32) {
    throw std::invalid_argument("factors must be float32");
  }
}

void FactoredRows::load(const Index* rows, Index count, Index first, bool consecutive) const {
  count_ = count;
  if (consecutive) {
    block_a_ = static_cast<const float*>(a_.data) + first * a_.cols;
    block_b_ = static_cast<const float*>(b_.data) + first * b_.cols;
    return;
  }
  block_a_ = gathered_a_.reserve(count * a_.cols);
  block_b_ = gathered_b_.reserve(count * b_.cols);
  machine().run(Gather{a_, rows, count, gathered_a_.data()});
  machine().run(Gather{b_, rows, count, gathered_b_.data()});
}

void FactoredRows::loaded_gram(float* K) const {
  float* other = work_.reserve(count_ * count_);
  machine().product({Type::kFloat32, false, true, count_, count_, a_.cols, block_a_, a_.cols,
                     block_a_, a_.cols, K, count_, 0.0});
  machine().product({Type::kFloat32, false, true, count_, count_, b_.cols, block_b_, b_.cols,
                     block_b_, b_.cols, other, count_, 0.0});
  machine().run(Multiply{K, other, count_ * count_});
}

void FactoredRows::loaded_dots(const float* U, Index chains, float* R) const {
  const Index k = b_.cols;
  float* P = work_.reserve(chains * k * count_);
  machine().product({Type::kFloat32, false, true, chains * k, count_, a_.cols, U, a_.cols, block_a_,
                     a_.cols, P, count_, 0.0});
  machine().run(Contract{{P, block_b_, R, chains, k, count_}});
}

void FactoredRows::loaded_add(const float* signs, Index chains, float* U) const {
  const Index k = b_.cols;
  float* T = work_.reserve(chains * k * count_);
  machine().run(Spread{signs, block_b_, T, chains, k, count_});
  machine().product({Type::kFloat32, false, false, chains * k, a_.cols, count_, T, count_, block_a_,
                     a_.cols, U, a_.cols, 1.0});
}

void FactoredRows::dots(const double* v, double* out) const {
  const Index k = b_.cols;
  const Index d = a_.cols;
  const Index most = std::min(kWideRows, size());
  Buffer<double> V(machine(), "a vector");
  V.write(v, k * d);
  Buffer<double> a(machine(), "rows in float64", most * d);
  Buffer<double> b(machine(), "rows in float64", most * k);
  Buffer<double> P(machine(), "products", k * most);
  Buffer<double> found(machine(), "inner products", most);
  std::vector<Index> numbers(static_cast<std::size_t>(size()));
  std::iota(numbers.begin(), numbers.end(), Index{0});
  Buffer<Index> rows(machine(), "row numbers");
  rows.write(numbers.data(), size());
  for (Index first = 0; first < size(); first += most) {
    const Index count = std::min(most, size() - first);
    machine().run(Widen{a_, rows.data() + first, count, nullptr, false, a.data()});
    machine().run(Widen{b_, rows.data() + first, count, nullptr, false, b.data()});
    machine().product(
        {Type::kFloat64, false, true, k, count, d, V.data(), d, a.data(), d, P.data(), count, 0.0});
    machine().run(ContractDouble{{P.data(), b.data(), found.data(), 1, k, count}});
    found.read(out + first, count);
  }
}

void FactoredRows::squared_norms(double* q, int /*threads*/) const {
  Buffer<double> sums(machine(), "a number for each row", size());
  std::vector<double> other(static_cast<std::size_t>(size()));
  machine().run(RowSums{b_, nullptr, true, sums.data()});
  sums.read(other.data(), size());
  machine().run(RowSums{a_, nullptr, true, sums.data()});
  sums.read(q, size());
  for (Index i = 0; i < size(); ++i) q[i] *= other[i];
}

void FactoredRows::hashes(std::uint64_t* out) const {
  Buffer<std::uint64_t> found(machine(), "a number for each row", size());
  std::vector<std::uint64_t> other(static_cast<std::size_t>(size()));
  machine().run(RowHashes{b_, found.data()});
  found.read(other.data(), size());
  machine().run(RowHashes{a_, found.data()});
  found.read(out, size());
  for (Index i = 0; i < size(); ++i) out[i] = mix64(out[i] ^ mix64(other[i]));
}

void FactoredRows::sum_rows(const Index* order, const Index* begin, Index groups,
                            const double* weights, bool square, double* sums) const {
  const Index k = b_.cols;
  const Index d = a_.cols;
  const Index most = std::max<Index>(1, std::min(kWideRows, begin[groups]));
  Buffer<Index> rows(machine(), "row numbers");
  rows.write(order, begin[groups]);
  Buffer<double> a(machine(), "rows in float64", most * d);
  Buffer<double> b(machine(), "rows in float64", most * k);
  Buffer<double> total(machine(), "a sum of rows", k * d);
  for (Index g = 0; g < groups; ++g) {
    total.zeros(k * d);
    for (Index first = begin[g]; first < begin[g + 1]; first += most) {
      const Index count = std::min(most, begin[g + 1] - first);
      machine().run(Widen{a_, rows.data() + first, count, nullptr, square, a.data()});
      machine().run(Widen{b_, rows.data() + first, count, weights, square, b.data()});
      machine().product({Type::kFloat64, true, false, k, d, count, b.data(), k, a.data(), d,
                         total.data(), d, 1.0});
    }
    total.read(sums + g * k * d, k * d);
  }
}

}  // namespace dprune::cuda
