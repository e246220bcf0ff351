// The operations behind the row stores: what there is around the matrix products.
#pragma once

#include "machine.h"
#include "rng.h"

namespace dprune::cuda {

// A row-major matrix of float32 or bfloat16.
struct Matrix {
  const void* data;
  Type type;
  Index rows, cols;
};

// out[a] = S[rows[a]], in the type of S. A team a row.
struct Gather {
  Matrix S;
  const Index* rows;
  Index count;
  void* out;

  Index teams() const { return count; }
  std::size_t scratch() const { return 0; }

  template <class Team>
  DPRUNE_HD void operator()(const Team& team, Index a) const {
    if (S.type == Type::kBfloat16) {
      copy<std::uint16_t>(team, a);
    } else {
      copy<float>(team, a);
    }
  }

 private:
  template <class T, class Team>
  DPRUNE_HD void copy(const Team& team, Index a) const {
    const T* from = static_cast<const T*>(S.data) + rows[a] * S.cols;
    T* to = static_cast<T*>(out) + a * S.cols;
    for (Index j = team.lane(); j < S.cols; j += team.lanes()) to[j] = from[j];
  }
};

// out[a] = S[rows[a]] in float64, times weights[rows[a]] where there are any, squared on demand. A
// team a row.
struct Widen {
  Matrix S;
  const Index* rows;
  Index count;
  const double* weights;
  bool square;
  double* out;

  Index teams() const { return count; }
  std::size_t scratch() const { return 0; }

  template <class Team>
  DPRUNE_HD void operator()(const Team& team, Index a) const {
    if (S.type == Type::kBfloat16) {
      copy<Bfloat16>(team, a);
    } else {
      copy<float>(team, a);
    }
  }

 private:
  template <class T, class Team>
  DPRUNE_HD void copy(const Team& team, Index a) const {
    const T* from = static_cast<const T*>(S.data) + rows[a] * S.cols;
    const double weight = weights ? weights[rows[a]] : 1.0;
    double* to = out + a * S.cols;
    for (Index j = team.lane(); j < S.cols; j += team.lanes()) {
      const double x = static_cast<double>(to_float(from[j]));
      to[j] = weight * (square ? x * x : x);
    }
  }
};

// x = sum of `parts` bfloat16 vectors, one after the other in `to`, each the rounded rest: three
// hold all 24 bits of a float, one those of a sign. A team a chunk.
struct Split {
  const float* from;
  Bfloat16* to;  // parts x count
  Index count;
  int parts;

  Index teams() const { return ceil_div(count, kChunk); }
  std::size_t scratch() const { return 0; }

  template <class Team>
  DPRUNE_HD void operator()(const Team& team, Index chunk) const {
    const Index end = (chunk + 1) * kChunk < count ? (chunk + 1) * kChunk : count;
    for (Index k = chunk * kChunk + team.lane(); k < end; k += team.lanes()) {
      float rest = from[k];
      for (int part = 0; part < parts; ++part) {
        Bfloat16& rounded = to[part * count + k];
        store(rest, rounded);
        rest -= to_float(rounded);
      }
    }
  }
};

// to[k] = sum of from[k], from[count + k], ..., smallest part first. A team a chunk.
struct SumParts {
  const float* from;  // parts x count
  float* to;
  Index count;
  int parts;

  Index teams() const { return ceil_div(count, kChunk); }
  std::size_t scratch() const { return 0; }

  template <class Team>
  DPRUNE_HD void operator()(const Team& team, Index chunk) const {
    const Index end = (chunk + 1) * kChunk < count ? (chunk + 1) * kChunk : count;
    for (Index k = chunk * kChunk + team.lane(); k < end; k += team.lanes()) {
      float sum = 0.0F;
      for (int part = parts - 1; part >= 0; --part) sum += from[part * count + k];
      to[k] = sum;
    }
  }
};

// x[k] *= y[k]. A team a chunk.
struct Multiply {
  float* x;
  const float* y;
  Index count;

  Index teams() const { return ceil_div(count, kChunk); }
  std::size_t scratch() const { return 0; }

  template <class Team>
  DPRUNE_HD void operator()(const Team& team, Index chunk) const {
    const Index end = (chunk + 1) * kChunk < count ? (chunk + 1) * kChunk : count;
    for (Index k = chunk * kChunk + team.lane(); k < end; k += team.lanes()) x[k] *= y[k];
  }
};

// out[a][j] = scale[j] S[a][j], or that added to it. A team a row.
struct ScaleColumns {
  Matrix S;
  const float* scale;
  bool add;
  float* out;

  Index teams() const { return S.rows; }
  std::size_t scratch() const { return 0; }

  template <class Team>
  DPRUNE_HD void operator()(const Team& team, Index a) const {
    if (S.type == Type::kBfloat16) {
      row<Bfloat16>(team, a);
    } else {
      row<float>(team, a);
    }
  }

 private:
  template <class T, class Team>
  DPRUNE_HD void row(const Team& team, Index a) const {
    const T* from = static_cast<const T*>(S.data) + a * S.cols;
    float* to = out + a * S.cols;
    for (Index j = team.lane(); j < S.cols; j += team.lanes()) {
      const float x = scale[j] * to_float(from[j]);
      to[j] = add ? to[j] + x : x;
    }
  }
};

// R[c][i] = sum_p P[c][p][i] b[i][p]: the inner products of factored rows b_i (x) a_i with U_c,
// from P = U a^T. A team for each c and chunk of rows.
template <class T>
struct Contraction {
  const T* P;  // chains x k x count
  const T* b;  // count x k
  T* R;        // chains x count
  Index chains, k, count;

  Index teams() const { return chains * ceil_div(count, kChunk); }
  std::size_t scratch() const { return 0; }

  template <class Team>
  DPRUNE_HD void operator()(const Team& team, Index number) const {
    const Index chunks = ceil_div(count, kChunk);
    const Index chain = number / chunks;
    const Index chunk = number % chunks;
    const Index end = (chunk + 1) * kChunk < count ? (chunk + 1) * kChunk : count;
    for (Index i = chunk * kChunk + team.lane(); i < end; i += team.lanes()) {
      T sum = 0;
      for (Index p = 0; p < k; ++p) sum += P[(chain * k + p) * count + i] * b[i * k + p];
      R[chain * count + i] = sum;
    }
  }
};
struct Contract : Contraction<float> {};
struct ContractDouble : Contraction<double> {};

// T[c][p][i] = signs[c][i] b[i][p]: U_c += T_c a adds factored rows to U_c. A team for each c, p.
struct Spread {
  const float* signs;  // chains x count
  const float* b;      // count x k
  float* T;            // chains x k x count
  Index chains, k, count;

  Index teams() const { return chains * k; }
  std::size_t scratch() const { return 0; }

  template <class Team>
  DPRUNE_HD void operator()(const Team& team, Index number) const {
    const Index chain = number / k;
    const Index p = number % k;
    for (Index i = team.lane(); i < count; i += team.lanes()) {
      T[number * count + i] = signs[chain * count + i] * b[i * k + p];
    }
  }
};

// Float64 sums of rows over segments of a list: partial[s] = sum over rows[begin[s]..begin[s+1]] of
// S_i, or w_i S_i, or S_i squared entry by entry. A team a segment and kColumns columns, a lane a
// column: the order of each sum is the list's.
struct GroupSums {
  static constexpr Index kColumns = 256;

  Matrix S;
  const Index* rows;
  const Index* begin;  // segments + 1
  Index segments;
  const double* weights;
  bool square;
  double* partial;  // segments x N

  Index teams() const { return segments * ceil_div(S.cols, kColumns); }
  std::size_t scratch() const { return 0; }

  template <class Team>
  DPRUNE_HD void operator()(const Team& team, Index number) const {
    if (S.type == Type::kBfloat16) {
      sum<Bfloat16>(team, number);
    } else {
      sum<float>(team, number);
    }
  }

 private:
  template <class T, class Team>
  DPRUNE_HD void sum(const Team& team, Index number) const {
    const Index tiles = ceil_div(S.cols, kColumns);
    const Index segment = number / tiles;
    const Index first = number % tiles * kColumns;
    const Index end = first + kColumns < S.cols ? first + kColumns : S.cols;
    const T* data = static_cast<const T*>(S.data);
    for (Index j = first + team.lane(); j < end; j += team.lanes()) {
      double total = 0.0;
      for (Index k = begin[segment]; k < begin[segment + 1]; ++k) {
        const double x = static_cast<double>(to_float(data[rows[k] * S.cols + j]));
        total += (weights ? weights[rows[k]] : 1.0) * (square ? x * x : x);
      }
      partial[segment * S.cols + j] = total;
    }
  }
};

// sums[g] = sum of the partial sums begin[g]..begin[g+1]. A team a group and kColumns columns.
struct FoldSegments {
  const double* partial;
  const Index* begin;  // groups + 1
  Index groups, width;
  double* sums;

  Index teams() const { return groups * ceil_div(width, GroupSums::kColumns); }
  std::size_t scratch() const { return 0; }

  template <class Team>
  DPRUNE_HD void operator()(const Team& team, Index number) const {
    const Index tiles = ceil_div(width, GroupSums::kColumns);
    const Index group = number / tiles;
    const Index first = number % tiles * GroupSums::kColumns;
    const Index end = first + GroupSums::kColumns < width ? first + GroupSums::kColumns : width;
    for (Index j = first + team.lane(); j < end; j += team.lanes()) {
      double total = 0.0;
      for (Index s = begin[group]; s < begin[group + 1]; ++s) total += partial[s * width + j];
      sums[group * width + j] = total;
    }
  }
};

// out[i] = sum_j v_j S_ij, or sum_j v_j S_ij^2 with squares, in float64; no v: ones. A team a row.
struct RowSums {
  Matrix S;
  const double* v;  // or null
  bool square;
  double* out;

  Index teams() const { return S.rows; }
  std::size_t scratch() const { return 0; }

  template <class Team>
  DPRUNE_HD void operator()(const Team& team, Index i) const {
    const double total = S.type == Type::kBfloat16 ? row<Bfloat16>(team, i) : row<float>(team, i);
    if (team.lane() == 0) out[i] = total;
  }

 private:
  template <class T, class Team>
  DPRUNE_HD double row(const Team& team, Index i) const {
    const T* from = static_cast<const T*>(S.data) + i * S.cols;
    double total = 0.0;
    for (Index j = team.lane(); j < S.cols; j += team.lanes()) {
      const double x = static_cast<double>(to_float(from[j]));
      total += (square ? x * x : x) * (v ? v[j] : 1.0);
    }
    return team.sum(total);
  }
};

// A hash of the bits of each row, the same for any number of lanes: a sum of hashed (column,
// entry). A team a row.
struct RowHashes {
  Matrix S;
  std::uint64_t* out;

  Index teams() const { return S.rows; }
  std::size_t scratch() const { return 0; }

  template <class Team>
  DPRUNE_HD void operator()(const Team& team, Index i) const {
    const std::uint64_t hash =
        S.type == Type::kBfloat16 ? row<std::uint16_t>(team, i) : row<std::uint32_t>(team, i);
    // Halves of 32 bits: their sums over the lanes are exact in float64.
    const auto low = static_cast<std::uint64_t>(team.sum(static_cast<double>(hash & 0xffffffffU)));
    const auto high = static_cast<std::uint64_t>(team.sum(static_cast<double>(hash >> 32)));
    if (team.lane() == 0) out[i] = (high << 32) + low;
  }

 private:
  template <class T, class Team>
  DPRUNE_HD std::uint64_t row(const Team& team, Index i) const {
    const T* from = static_cast<const T*>(S.data) + i * S.cols;
    std::uint64_t total = 0;
    for (Index j = team.lane(); j < S.cols; j += team.lanes()) {
      total += mix64(((static_cast<std::uint64_t>(j) + 1) << 32) + from[j]);
    }
    return total;
  }
};

}  // namespace dprune::cuda
