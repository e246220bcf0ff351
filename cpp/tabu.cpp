#include "tabu.h"

#include <algorithm>
#include <array>
#include <vector>

#include "kernels.h"

namespace dprune {
namespace {

// A sample that moved stays for so many steps, drawn anew each time.
constexpr std::int64_t kLeastTenure = 3;
constexpr std::int64_t kMostTenure = 7;
// What it costs to do what may not be done.
constexpr float kForbidden = 1e38F;
// A better subset is so by more than rounding errors, in units of the largest squared norm.
constexpr double kLeastGain = 1e-6;
constexpr std::int64_t kStepsPerPoll = 64;
// Rounding errors of the field are wiped out this often.
constexpr std::int64_t kStepsPerRefresh = 8192;

class TabuSearch {
 public:
  TabuSearch(const Problem& problem, const Index* rows, Index count, const float* K, Subset& subset,
             Random& random)
      : problem_(problem),
        rows_(rows),
        count_(count),
        K_(K),
        subset_(subset),
        random_(random),
        begin_(problem.quotas.strata() + 1, 0),
        field_(count),
        to_return_(count, kForbidden),
        to_remove_(count, kForbidden),
        until_(count, 0),
        mask_(subset.mask()),
        best_(subset.energy()) {
    for (Index a = 0; a < count; ++a) {
      ++begin_[problem.quotas.stratum(rows[a]) + 1];
      gain_ = std::max(gain_, kLeastGain * problem.squared_norms[rows[a]]);
      allow(a);
    }
    for (std::size_t s = 1; s < begin_.size(); ++s) begin_[s] += begin_[s - 1];
    refresh();
  }

  double best() const { return best_; }

  void step() {
    auto& released = released_[++step_ % kSlots];
    for (const Index a : released) {
      if (until_[a] == step_) allow(a);
    }
    released.clear();
    if (step_ % kStepsPerRefresh == 0) refresh();
    if (out_ < 0) out_ = cheapest_to_return(0.0F, 0);
    if (out_ < 0) return;  // all of them are tabu

    const Index out = out_;
    subset_.toggle(rows_[out], static_cast<double>(to_return_[out] - field_[out]));
    hold(out);
    Index in = cheapest_to_remove(out, -2.0F);
    while (in >= 0 && !subset_.admissible(rows_[in])) {
      hold(in);
      in = cheapest_to_remove(out, 0.0F);
    }
    if (in < 0) {  // none can go in its place
      subset_.toggle(rows_[out], 0.0);
      refresh();
      return;
    }
    subset_.toggle(rows_[in], static_cast<double>(to_remove_[in] + field_[in]));
    hold(in);
    out_ = cheapest_to_return(2.0F, in);
    if (subset_.energy() < best_ - gain_) refresh();
  }

  // Goes back to the best subset.
  void finish() {
    for (Index a = 0; a < count_; ++a) {
      if (subset_.mask()[rows_[a]] == mask_[rows_[a]]) continue;
      subset_.toggle(rows_[a], 0.0);
    }
    subset_.refresh();
  }

 private:
  static constexpr std::size_t kSlots = kMostTenure + 1;

  // The field and the energy afresh; the subset becomes the best one if it is.
  void refresh() {
    subset_.refresh();
    problem_.rows.dots(rows_, count_, subset_.sum(), field_.data());
    for (float& f : field_) f *= 2.0F;
    out_ = -1;
    if (subset_.energy() < best_) {
      best_ = subset_.energy();
      mask_ = subset_.mask();
    }
  }

  void allow(Index a) {
    const auto q = static_cast<float>(problem_.squared_norms[rows_[a]]);
    (subset_.removed(rows_[a]) ? to_return_ : to_remove_)[a] = q;
  }

  void hold(Index a) {
    to_return_[a] = to_remove_[a] = kForbidden;
    until_[a] = step_ + kLeastTenure + random_.below(kMostTenure - kLeastTenure + 1);
    released_[until_[a] % kSlots].push_back(a);
  }

  // Both add a multiple of a row of K to the field first. -1: none may move.
  Index cheapest_to_return(float alpha, Index row) {
    const Index a = add_and_find_least(alpha, K_ + row * count_, field_.data(), -1.0F,
                                       to_return_.data(), count_);
    return to_return_[a] < kForbidden ? a : -1;
  }
  Index cheapest_to_remove(Index row, float alpha) {
    const Index s = problem_.quotas.stratum(rows_[row]);
    const Index begin = begin_[s];
    const Index end = begin_[s + 1];
    const float* K = K_ + row * count_;
    axpy(alpha, K, field_.data(), begin);
    axpy(alpha, K + end, field_.data() + end, count_ - end);
    const Index a = begin + add_and_find_least(alpha, K + begin, field_.data() + begin, 1.0F,
                                               to_remove_.data() + begin, end - begin);
    return to_remove_[a] < kForbidden ? a : -1;
  }

  const Problem& problem_;
  const Index* rows_;
  Index count_;
  const float* K_;
  Subset& subset_;  // its running sum is up to date after refresh() only
  Random& random_;
  std::vector<Index> begin_;  // of each stratum's rows
  std::vector<float> field_;
  std::vector<float> to_return_, to_remove_;  // K_aa where that may be done
  std::vector<std::int64_t> until_;           // the step at which it may move again
  std::array<std::vector<Index>, kSlots> released_;
  Mask mask_;  // the best subset
  double best_;
  double gain_ = 0.0;
  std::int64_t step_ = 0;
  Index out_ = -1;  // the next to return, where that is known
};

}  // namespace

void search_tabu(const Problem& problem, const Index* rows, Index count, const float* K,
                 std::int64_t steps, double target, Subset& subset, Random& random,
                 const std::function<bool()>& over) {
  TabuSearch search(problem, rows, count, K, subset, random);
  for (std::int64_t step = 0; step < steps && search.best() > target; ++step) {
    if (step % kStepsPerPoll == 0 && over()) break;
    search.step();
  }
  search.finish();
}

}  // namespace dprune
