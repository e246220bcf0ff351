#include "chain_rows.h"

#include <algorithm>
#include <numeric>
#include <vector>

namespace dprune::cuda {

ChainRows::ChainRows(Machine& machine)
    : machine_(machine),
      rows_(machine, "row numbers"),
      sums_(machine, "running sums"),
      values_(machine, "inner products"),
      square_(machine, "a Gram matrix") {}

void ChainRows::load_block(const Index* block, Index count) const {
  bool consecutive = true;
  for (Index a = 1; a < count; ++a) consecutive &= block[a] == block[0] + a;
  load(rows_.write(block, count), count, block[0], consecutive);
}

void ChainRows::gram(const Index* block, Index count, float* K) const {
  if (count > kWidest) throw std::invalid_argument("a Gram matrix of more rows than a block holds");
  load_block(block, count);
  loaded_gram(square_.reserve(count * count));
  square_.read(K, count * count);
}

void ChainRows::dots(const Index* block, Index count, const float* u, float* r) const {
  dots_of_chains(block, count, u, 1, r);
}

void ChainRows::add(const Index* block, const float* signs, Index count, float* u) const {
  add_of_chains(block, count, signs, 1, u);
}

void ChainRows::dots_of_chains(const Index* block, Index count, const float* U, Index chains,
                               float* R) const {
  sums_.write(U, chains * width());
  std::vector<float> part;
  for (Index first = 0; first < count; first += kWidest) {
    const Index rows = std::min(kWidest, count - first);
    load_block(block + first, rows);
    loaded_dots(sums_.data(), chains, values_.reserve(chains * rows));
    part.resize(static_cast<std::size_t>(chains * rows));
    values_.read(part.data(), chains * rows);
    for (Index c = 0; c < chains; ++c) {
      std::copy_n(part.begin() + c * rows, rows, R + c * count + first);
    }
  }
}

void ChainRows::add_of_chains(const Index* block, Index count, const float* signs, Index chains,
                              float* U) const {
  if (count == 0) return;
  sums_.write(U, chains * width());
  std::vector<float> part;
  for (Index first = 0; first < count; first += kWidest) {
    const Index rows = std::min(kWidest, count - first);
    load_block(block + first, rows);
    part.clear();
    for (Index c = 0; c < chains; ++c) {
      part.insert(part.end(), signs + c * count + first, signs + c * count + first + rows);
    }
    loaded_add(values_.write(part.data(), chains * rows), chains, sums_.data());
  }
  sums_.read(U, chains * width());
}

void ChainRows::add_groups(const Index* labels, MatrixView<double> sums, int /*threads*/) const {
  // The rows of each group, in their order.
  std::vector<Index> begin(static_cast<std::size_t>(sums.rows) + 1, 0);
  for (Index i = 0; i < size(); ++i) {
    if (labels[i] >= 0) ++begin[labels[i] + 1];
  }
  std::partial_sum(begin.begin(), begin.end(), begin.begin());
  std::vector<Index> order(static_cast<std::size_t>(begin.back()));
  auto next = begin;
  for (Index i = 0; i < size(); ++i) {
    if (labels[i] >= 0) order[next[labels[i]]++] = i;
  }
  std::vector<double> found(static_cast<std::size_t>(sums.rows * sums.cols));
  sum_rows(order.data(), begin.data(), sums.rows, nullptr, false, found.data());
  for (std::size_t k = 0; k < found.size(); ++k) sums.data[k] += found[k];
}

void ChainRows::weighted_sum(const double* weights, double* sum) const {
  Buffer<double> on_machine(machine_, "weights");
  on_machine.write(weights, size());
  std::vector<Index> order(static_cast<std::size_t>(size()));
  std::iota(order.begin(), order.end(), Index{0});
  const Index begin[] = {0, size()};
  sum_rows(order.data(), begin, 1, on_machine.data(), false, sum);
}

void ChainRows::square_columns(double* sum) const {
  std::vector<Index> order(static_cast<std::size_t>(size()));
  std::iota(order.begin(), order.end(), Index{0});
  const Index begin[] = {0, size()};
  sum_rows(order.data(), begin, 1, nullptr, true, sum);
}

}  // namespace dprune::cuda
