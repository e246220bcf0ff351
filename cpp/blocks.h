// The free rows cut into blocks, and the Gram matrix of each block, computed once.
//
// Rows of like norm share a block (octaves of ||S_i||^2, the order of S within), so that a walk
// can leave out the blocks that are inert at its temperature. Where the store is best read in
// order, the order of S is kept. Problems of up to a few thousand rows are one block, one stratum's
// rows after another's.
#pragma once

#include <memory>
#include <vector>

#include "coarse_rows.h"
#include "problem.h"

namespace dprune {

class Blocks {
 public:
  // A block's Gram matrix should stay in the second-level cache.
  static constexpr Index kWidest = 64;

  // seconds: time there is in all; where it is short the blocks are narrower, and their matrices
  // sooner there.
  Blocks(const Problem& problem, double seconds, Index widest = kWidest);

  Index count() const { return static_cast<Index>(least_.size()); }
  Index width() const { return width_; }  // rows of the widest block
  Index free_rows() const { return static_cast<Index>(free_.size()); }

  const Index* rows(Index block) const { return free_.data() + block * width_; }
  Index size(Index block) const;
  // Smallest and largest ||S_i||^2 in it.
  double least(Index block) const { return least_[block]; }
  double most(Index block) const { return most_[block]; }

  // K[a * size + b] = <S_i, S_j>.
  const float* gram(Index block);
  // r[a] ~= <S_i, u> for the rows of a block, where there is room for rows in eight bits.
  bool has_coarse() const { return coarse_ != nullptr; }
  void round(const float* u, CoarseRows::Rounded& rounded) const { coarse_->round(u, rounded); }
  void coarse_dots(Index block, const CoarseRows::Rounded& u, float* r);
  // Computes those of several blocks ahead of use.
  void prepare(const Index* blocks, Index count, int threads);

 private:
  const Problem& problem_;
  std::vector<Index> free_;  // the rows that may be removed, block after block
  Index width_;
  std::vector<double> least_, most_;
  bool kept_;  // memory suffices for all matrices
  std::unique_ptr<float[]> grams_;
  std::vector<std::uint8_t> known_;
  std::unique_ptr<CoarseRows> coarse_;
  std::vector<std::uint8_t> filled_;
};

}  // namespace dprune
