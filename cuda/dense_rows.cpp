#include "dense_rows.h"

#include <algorithm>
#include <vector>

namespace dprune::cuda {
namespace {

// bfloat16 numbers that add up to a float32 number.
constexpr int kParts = 3;
// Rows that one team sums up, and the most partial sums held at once, in numbers.
constexpr Index kSegmentRows = 256;
constexpr Index kPartialNumbers = Index{1} << 25;

}  // namespace

DenseRows::DenseRows(Machine& machine, const Matrix& S)
    : ChainRows(machine),
      S_(S),
      gathered_(machine, "the rows of a block"),
      parts_(machine, "running sums in bfloat16"),
      part_dots_(machine, "inner products in parts") {}

void DenseRows::load(const Index* rows, Index count, Index first, bool consecutive) const {
  count_ = count;
  const auto row_bytes = static_cast<Index>(bytes_of(S_.type)) * S_.cols;
  if (consecutive) {
    block_ = static_cast<const unsigned char*>(S_.data) + first * row_bytes;
    return;
  }
  block_ = gathered_.reserve(count * row_bytes);
  machine().run(Gather{S_, rows, count, gathered_.data()});
}

void DenseRows::loaded_gram(float* K) const {
  machine().product({S_.type, false, true, count_, count_, S_.cols, block_, S_.cols, block_,
                     S_.cols, K, count_, 0.0});
}

void DenseRows::loaded_dots(const float* U, Index chains, float* R) const {
  const Index N = S_.cols;
  if (S_.type == Type::kFloat32) {
    machine().product({S_.type, false, true, chains, count_, N, U, N, block_, N, R, count_, 0.0});
    return;
  }
  machine().run(Split{U, parts_.reserve(kParts * chains * N), chains * N, kParts});
  machine().product({S_.type, false, true, kParts * chains, count_, N, parts_.data(), N, block_, N,
                     part_dots_.reserve(kParts * chains * count_), count_, 0.0});
  machine().run(SumParts{part_dots_.data(), R, chains * count_, kParts});
}

void DenseRows::loaded_add(const float* signs, Index chains, float* U) const {
  const Index N = S_.cols;
  const void* left = signs;
  if (S_.type == Type::kBfloat16) {
    left = parts_.reserve(chains * count_);
    machine().run(Split{signs, parts_.data(), chains * count_, 1});
  }
  machine().product({S_.type, false, false, chains, N, count_, left, count_, block_, N, U, N, 1.0});
}

void DenseRows::dots(const double* v, double* out) const {
  Buffer<double> on_machine(machine(), "a vector");
  row_sums(on_machine.write(v, S_.cols), false, out);
}

void DenseRows::squared_norms(double* q, int /*threads*/) const { row_sums(nullptr, true, q); }

void DenseRows::weighted_norms(const double* w, double* q) const {
  Buffer<double> on_machine(machine(), "a vector");
  row_sums(on_machine.write(w, S_.cols), true, q);
}

void DenseRows::row_sums(const double* v, bool square, double* out) const {
  Buffer<double> sums(machine(), "a number for each row", S_.rows);
  machine().run(RowSums{S_, v, square, sums.data()});
  sums.read(out, S_.rows);
}

void DenseRows::hashes(std::uint64_t* out) const {
  Buffer<std::uint64_t> found(machine(), "a number for each row", S_.rows);
  machine().run(RowHashes{S_, found.data()});
  found.read(out, S_.rows);
}

void DenseRows::sum_rows(const Index* order, const Index* begin, Index groups,
                         const double* weights, bool square, double* sums) const {
  const Index N = S_.cols;
  Buffer<Index> rows(machine(), "row numbers");
  rows.write(order, begin[groups]);
  Buffer<Index> cuts(machine(), "segments");
  Buffer<Index> ends(machine(), "groups");
  Buffer<double> partial(machine(), "partial sums");
  Buffer<double> total(machine(), "sums of rows");
  // Longer segments where there are many rows: some thousand teams at least, and few sums.
  const Index most = std::max<Index>(1, kPartialNumbers / N);
  const Index length = std::max(kSegmentRows, ceil_div(begin[groups], most));
  for (Index g = 0; g < groups;) {
    // As many groups as keep the partial sums within bounds, one at least.
    std::vector<Index> segments{begin[g]};
    std::vector<Index> of_group{0};
    for (; g < groups; ++g) {
      const Index more = ceil_div(begin[g + 1] - begin[g], length);
      const auto held = static_cast<Index>(segments.size()) - 1;
      if (of_group.size() > 1 && held + more > most) break;
      for (Index k = 1; k <= more; ++k) {
        segments.push_back(std::min(begin[g + 1], begin[g] + k * length));
      }
      of_group.push_back(static_cast<Index>(segments.size()) - 1);
    }
    const auto count = static_cast<Index>(segments.size()) - 1;
    const auto done = static_cast<Index>(of_group.size()) - 1;
    cuts.write(segments.data(), count + 1);
    ends.write(of_group.data(), done + 1);
    machine().run(GroupSums{S_, rows.data(), cuts.data(), count, weights, square,
                            partial.reserve(count * N)});
    machine().run(FoldSegments{partial.data(), ends.data(), done, N, total.reserve(done * N)});
    total.read(sums + (g - done) * N, done * N);
  }
}

}  // namespace dprune::cuda
