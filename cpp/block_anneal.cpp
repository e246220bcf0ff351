#include "block_anneal.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <optional>
#include <utility>
#include <vector>

#include "cooling.h"
#include "denormals.h"
#include "exact.h"
#include "kernels.h"
#include "parallel.h"
#include "rng.h"
#include "subset.h"
#include "swaps.h"
#include "tabu.h"

namespace dprune {
namespace {

// Passes over a block at one visit; fewer where so many flips were accepted, per row.
constexpr int kPasses = 4;
constexpr double kFlipsPerVisit = 0.3;
// A walk that accepts fewer flips a row reads the rows in eight bits (coarse_rows.h), and exactly
// those whose flip looks worth it.
constexpr double kCold = 0.1;
// The fall that looks for the freezing point: temperature from sweep to sweep, and the share of
// proposals accepted there.
constexpr double kFall = 0.6;
constexpr double kFrozen = 3e-4;
// It goes no deeper than this, and uses no more than this share of the budget. Where that is
// short it falls faster, to be where the smaller rows are expected to freeze when it is used up.
constexpr double kRange = 1e-10;
constexpr double kQuickShare = 0.4;
// At temperature T the rows not yet frozen hold about T/2 of ||u||^2 in each dimension: below this
// share of what the frozen ones have left over, nothing more is to be had.
constexpr double kNegligible = 0.001;
// Above this multiple of that temperature the smaller rows do not take part yet (cooling.h), and a
// standstill of the others says nothing.
constexpr double kInPlay = 800.0;
// The weight of a squared excess of a stratum, in units of the temperature: the count then strays
// from its quota by about one.
constexpr double kStiffness = 0.5;
// With many strata a walk is hardly ever on all targets at once: late in the slow fall the penalty
// grows by this factor, and the last state is brought onto them by so many flips at most.
constexpr double kStiffFrom = 0.8;
constexpr double kStiffer = 256.0;
constexpr Index kMostSettled = 256;
// Rounding errors of the float32 running sum are wiped out this often.
constexpr std::int64_t kSweepsPerRefresh = 64;
// Gram matrices computed ahead, per thread.
constexpr Index kAhead = 4;
// Small problems are walked several times.
constexpr Index kRestartRows = 2048;
constexpr Index kMostWalks = 16;
// Of random numbers in a solve: a walk's each, and the last search's.
constexpr std::uint64_t kStreams = kMostWalks + 1;
// Few rows are looked at exactly (exact.h) where that costs no more than the walks it saves: what a
// proposal of theirs costs in multiplications, how many of these a second has, and so many always.
constexpr double kPerProposal = 128.0;
constexpr double kPerSecond = 1e9;
constexpr double kLeastExact = 1e7;
// Where all rows are one block a tabu search (tabu.h) has this share of the budget after the walk;
// what a step of it costs, in numbers read for each row, and a proposal besides the row it is for.
constexpr double kTabuShare = 0.4;
constexpr double kNumbersPerStep = 4.0;
constexpr double kNumbersPerProposal = 64.0;
// The last exact search: rows.
constexpr Index kLastRows = 512;

// What a visit goes by: the temperature, and the weight of a squared excess in units of it.
struct Conditions {
  double temperature;
  double stiffness;
};

}  // namespace

class BlockAnnealer::Walk {
 public:
  Walk(const Problem& problem, const Problem& metric, Blocks& blocks, Index m, Mask mask,
       double target, Random random)
      : problem_(problem),
        metric_(metric),
        blocks_(blocks),
        target_(target * target),
        subset_(metric, m, mask),
        best_(subset_),
        random_(random),
        mu_(problem.quotas.strata(), 0.0) {
    if (&metric != &problem) {
      judged_.emplace(problem, m, std::move(mask));
      best_ = Incumbent(*judged_);
    }
    const auto lanes = static_cast<std::size_t>((blocks.width() + kLane - 1) / kLane * kLane);
    field_.assign(lanes, 0.0F);
    sign_.assign(lanes, 0.0F);
    cost_.assign(lanes, 0.0F);
    rough_.assign(lanes, 0.0F);
    exact_.assign(lanes, 0);
    odd_.assign(lanes, 0);
    rows_.assign(lanes, 0);
    strata_.assign(lanes, 0);
  }

  const Incumbent& best() const { return best_; }
  bool reached() const { return best_.energy() <= target_; }

  struct Sweep {
    Index rows = 0;
    std::int64_t proposals = 0;
    std::int64_t accepted = 0;
  };

  // One visit to every block that is active at the temperature it begins with, in random order.
  // schedule(rows) is what to go by when so many rows of this sweep have been visited.
  template <class Schedule, class Stop>
  Sweep sweep(const Schedule& schedule, int threads, const Stop& stop) {
    order_.clear();
    const double first = schedule(0).temperature;
    for (Index block = 0; block < blocks_.count(); ++block) {
      if (active(blocks_, block, first)) order_.push_back(block);
    }
    const auto count = static_cast<Index>(order_.size());
    for (Index k = count - 1; k > 0; --k) std::swap(order_[k], order_[random_.below(k + 1)]);
    Sweep sweep;
    for (Index k = 0; k < count && !reached() && !stop(); ++k) {
      if (threads > 1 && !cold_ && k % (kAhead * threads) == 0) {
        blocks_.prepare(order_.data() + k, std::min(kAhead * threads, count - k), threads);
      }
      if (k + 1 < count) {
        metric_.rows.prefetch(blocks_.rows(order_[k + 1]), blocks_.size(order_[k + 1]));
      }
      visit(order_[k], schedule(sweep.rows), sweep);
    }
    cold_ = blocks_.has_coarse() &&
            static_cast<double>(sweep.accepted) < kCold * static_cast<double>(sweep.rows);
    if (++sweeps_ % kSweepsPerRefresh == 0) {
      subset_.refresh();
      rounded_ = false;
      if (judged_) judged_->refresh();
    }
    return sweep;
  }

  // Whether rows that are still in play at this temperature cannot matter any more.
  bool negligible(double temperature) const {
    const auto dimensions =
        static_cast<double>(std::min(metric_.rows.width(), blocks_.free_rows()));
    return dimensions * temperature / 2.0 < kNegligible * subset_.energy();
  }

  // The walk's last state, brought onto the quotas, may be better than what it met on them.
  void settle(Monitor& monitor) {
    Subset last(problem_, subset_.target(), subset_.mask());
    dprune::settle(problem_, kMostSettled, last, monitor);
    best_.replace(last);
  }

 private:
  static constexpr Index kLane = 16;

  void visit(Index block, const Conditions& now, Sweep& sweep) {
    const double temperature = now.temperature;
    const double kappa = now.stiffness * temperature;
    const Quotas& quotas = problem_.quotas;
    const Index* row = blocks_.rows(block);
    const Index size = blocks_.size(block);
    const float* K = cold_ ? nullptr : blocks_.gram(block);

    // What one more flip in a stratum gains or costs besides the change of ||u||^2.
    const auto pull = [&](Index s) {
      return temperature * mu_[s] + 2.0 * kappa * static_cast<double>(subset_.excess(s));
    };
    if (cold_) {
      if (!rounded_) blocks_.round(subset_.sum(), u_);
      rounded_ = true;
      blocks_.coarse_dots(block, u_, rough_.data());
      std::copy_n(rough_.data(), size, field_.data());
    } else {
      metric_.rows.dots(row, size, subset_.sum(), field_.data());
    }
    for (Index a = 0; a < size; ++a) {
      strata_[a] = quotas.stratum(row[a]);
      field_[a] = static_cast<float>(2.0 * static_cast<double>(field_[a]) + pull(strata_[a]));
      sign_[a] = subset_.removed(row[a]) ? -1.0F : 1.0F;
      cost_[a] = static_cast<float>(metric_.squared_norms[row[a]] + kappa);
      exact_[a] = cold_ ? 0 : 1;
      odd_[a] = 0;
    }
    for (Index a = size; a % kLane != 0; ++a) {  // beyond the block: never accepted
      sign_[a] = 0.0F;
      cost_[a] = 1e38F;
    }

    const std::uint64_t draw = random_.bits();
    const auto enough = sweep.accepted + static_cast<std::int64_t>(
                                             std::ceil(kFlipsPerVisit * static_cast<double>(size)));
    for (int pass = 0; pass < kPasses && sweep.accepted < enough && !reached(); ++pass) {
      const auto key = static_cast<std::uint32_t>(mix64(draw + static_cast<std::uint64_t>(pass)));
      const auto next = [&](Index begin) {
        return next_accepted(field_.data(), sign_.data(), cost_.data(), begin, size,
                             static_cast<float>(temperature), key);
      };
      for (Index a = next(0); a < size; a = next(a + 1)) {
        if (!subset_.admissible(row[a])) continue;
        if (!exact_[a]) {  // make it so, and look again
          float r = 0.0F;
          metric_.rows.dots(row + a, 1, subset_.sum(), &r);
          field_[a] += 2.0F * (r - rough_[a]);
          exact_[a] = 1;
          if (next(a) != a) continue;
        }
        if (K == nullptr) K = blocks_.gram(block);
        const auto sign = static_cast<double>(sign_[a]);
        const double change = metric_.squared_norms[row[a]] +
                              sign * (static_cast<double>(field_[a]) - pull(strata_[a]));
        axpy(2.0F * sign_[a], K + a * size, field_.data(), size);
        const auto stiffer = static_cast<float>(2.0 * sign * kappa);
        for (Index b = 0; b < size; ++b) field_[b] += strata_[b] == strata_[a] ? stiffer : 0.0F;
        sign_[a] = -sign_[a];
        odd_[a] ^= 1;
        ++sweep.accepted;
        subset_.toggle(row[a], change);
        best_.note_flip(row[a]);
        if (!judged_ && best_.offer(subset_) && reached()) break;
      }
      sweep.proposals += size;
    }
    sweep.rows += size;

    // Net flips go back to the running sum; a removed sample's next sign is -1.
    Index changes = 0;
    for (Index a = 0; a < size; ++a) {
      if (!odd_[a]) continue;
      rows_[changes] = row[a];
      cost_[changes++] = -sign_[a];
    }
    subset_.add(rows_.data(), cost_.data(), changes);
    if (changes > 0) rounded_ = false;
    if (judged_ && changes > 0) {
      for (Index k = 0; k < changes; ++k) judged_->toggle(rows_[k], 0.0);
      judged_->add(rows_.data(), cost_.data(), changes);
      judged_->measure();
      best_.offer(*judged_);
    }
    const double share = static_cast<double>(size) / static_cast<double>(blocks_.free_rows());
    for (std::size_t s = 0; s < mu_.size(); ++s) {
      mu_[s] += share * now.stiffness * static_cast<double>(subset_.excess(static_cast<Index>(s)));
    }
  }

  const Problem& problem_;
  const Problem& metric_;
  Blocks& blocks_;
  double target_;                 // energy
  Subset subset_;                 // in the metric of the walk
  std::optional<Subset> judged_;  // the same one in that of the problem, where they differ
  Incumbent best_;
  Random random_;
  // The multiplier of each stratum's excess in units of the temperature, with which it falls: rows
  // far below the temperature would all follow one that lags behind.
  std::vector<double> mu_;
  std::int64_t sweeps_ = 0;
  std::vector<Index> order_;
  bool cold_ = false;     // rows are read in eight bits
  bool rounded_ = false;  // u_ is the running sum
  CoarseRows::Rounded u_;
  // Of the block visited: 2 <S_i, u> with the strata's pull, sign of the next flip, K_ii.
  std::vector<float> field_, sign_, cost_;
  std::vector<float> rough_;  // <S_i, u> as read in eight bits, to start from
  std::vector<std::uint8_t> exact_;
  std::vector<std::uint8_t> odd_;  // flipped an odd number of times
  std::vector<Index> rows_;
  std::vector<Index> strata_;
};

BlockAnnealer::BlockAnnealer(const Problem& problem, const Problem& metric, std::uint64_t seed,
                             int threads, double seconds)
    : problem_(problem),
      metric_(metric),
      freezing_(freezing(metric)),
      blocks_(metric, seconds),
      seed_(seed),
      threads_(threads) {}

Solution BlockAnnealer::solve(Index m, const Mask& start, const Effort& effort, double target,
                              Monitor& monitor) {
  ++solves_;
  const Bounds bounds = problem_.quotas.bounds(m);
  const Index n = blocks_.free_rows();
  const Index walks = std::clamp<Index>(kRestartRows / std::max<Index>(1, n), 1, kMostWalks);
  const bool single = walks == 1;
  const double begun = monitor.seconds();
  const auto budget = static_cast<double>(effort.sweeps) * static_cast<double>(n);  // rows visited
  const double walked = blocks_.count() == 1 ? 1.0 - kTabuShare : 1.0;
  const double planned = walked * budget / static_cast<double>(walks);
  const Index abreast = std::min<Index>(threads_, walks);
  const Index rounds = (walks + abreast - 1) / abreast;
  const double seconds = walked * effort.seconds / static_cast<double>(rounds);
  if (n > 0) blocks_.gram(0);

  std::vector<std::unique_ptr<Incumbent>> results(walks);
  // Walks after the first that reached the target are not needed: the answer is that one's.
  std::atomic<Index> first_reached{walks};
  const auto run = [&](Index number) {
    const FlushDenormals flush;
    Random random(seed_, solves_ * kStreams + static_cast<std::uint64_t>(number));
    Mask first = number == 0 ? start : Mask{};
    repair(problem_, bounds, m, first, random);
    Walk walk(problem_, metric_, blocks_, m, std::move(first), target, random);
    monitor.record(problem_.change(walk.best().norm(), m), m);
    const auto stop = [&] { return monitor.stop() || first_reached < number; };
    const auto over = [&] { return walk.reached() || stop(); };
    const double started = monitor.seconds();
    double visited = 0.0;
    double counted = 0.0;
    const auto sweep = [&](const auto& schedule) {
      const auto done = walk.sweep(schedule, single ? threads_ : 1, stop);
      // A sweep that found nothing active counts as a whole one: the fall goes on.
      visited += static_cast<double>(done.rows > 0 ? done.rows : n);
      while (counted + static_cast<double>(n) <= visited) {
        counted += static_cast<double>(n);
        monitor.sweep_done(problem_.change(walk.best().norm(), m), m);
      }
      return done;
    };

    // Share of the budget spent, in rows visited, so many of them in this sweep, or by the clock.
    const auto spent = [&](Index rows = 0) {
      const double by_work = (visited + static_cast<double>(rows)) / planned;
      const double by_clock = (monitor.seconds() - started) / seconds;
      if (by_clock > by_work) monitor.cut_short();
      return std::max(by_work, by_clock);
    };
    const bool many = problem_.quotas.strata() > 1;
    const double hottest = freezing_.hottest;
    const double likely = freezing_.likely;
    // A small problem is walked far deeper.
    const bool alike = freezing_.alike && blocks_.count() > 1;
    double coldest = hottest;
    bool frozen = false;
    double share = 0.0;
    while (!alike && !over() && !frozen && share < 1.0 && coldest > kRange * hottest) {
      const auto done = sweep([&](Index) { return Conditions{coldest, kStiffness}; });
      // Two flips of a sweep may be the multipliers' doing, at any temperature.
      frozen =
          walk.negligible(coldest) ||
          (coldest < kInPlay * likely && static_cast<double>(done.accepted) <=
                                             2.0 + kFrozen * static_cast<double>(done.proposals));
      share = spent() / kQuickShare;
      if (!frozen) {
        coldest = std::min(kFall * coldest, hottest * std::pow(likely / hottest, share));
      }
    }
    const bool guess = alike || share >= 1.0;
    const Cooling cooling(blocks_, guess ? std::min(hottest, kFrom * likely) : hottest,
                          guess ? std::min(coldest, kTo * likely) : coldest);
    const double quick = spent();
    const auto slow = [&](Index rows) {
      const double progress = (spent(rows) - quick) / (1.0 - quick);
      const double late = many ? std::max(0.0, (progress - kStiffFrom) / (1.0 - kStiffFrom)) : 0.0;
      return Conditions{cooling.temperature(progress), kStiffness * std::pow(kStiffer, late)};
    };
    while (!over() && spent() < 1.0) sweep(slow);
    if (!over()) walk.settle(monitor);
    monitor.record(problem_.change(walk.best().norm(), m), m);
    if (walk.reached()) {
      Index seen = first_reached;
      while (number < seen && !first_reached.compare_exchange_weak(seen, number)) {
      }
    }
    results[number] = std::make_unique<Incumbent>(walk.best());
  };
  // Among few rows what one walk has found is often good enough to look at all that may be better.
  const auto certain = [&] {
    run(0);
    Subset subset(problem_, m, results[0]->mask());
    const double most =
        std::min(kPerProposal * kPasses * budget, kPerSecond * monitor.seconds_left());
    const bool found = search_halves(problem_, blocks_.rows(0), n, std::max(kLeastExact, most),
                                     target * target, subset, monitor);
    results[0] = std::make_unique<Incumbent>(subset);
    return found;
  };
  const bool few = 0 < n && n <= kMostExactRows;
  const bool sure = few && certain();
  if (!sure) {
    const Index done = few ? 1 : 0;
    parallel_jobs(walks - done, threads_, [&](Index k) { run(done + k); }, [&] { monitor.stop(); });
  }

  Index best = 0;
  for (Index k = 1; k < walks; ++k) {
    if (results[k] && results[k]->energy() < results[best]->energy()) best = k;
  }
  if (first_reached < walks) best = first_reached;
  Subset subset(problem_, m, results[best]->mask());
  if (!sure && n > 1 && first_reached == walks && !monitor.stop()) {
    Random random(seed_, solves_ * kStreams + kMostWalks);
    finish(effort, begun + effort.seconds, target * target, random, subset, monitor);
  }
  monitor.record(problem_.change(std::sqrt(subset.energy()), m), m);
  return {subset.mask(), certified_norm(problem_, subset.mask())};
}

// The rows that are cheapest to flip.
std::vector<Index> BlockAnnealer::cheapest(const Subset& subset, Index most) const {
  std::vector<float> cost(problem_.size());
  std::vector<float> r(blocks_.width());
  for (Index block = 0; block < blocks_.count(); ++block) {
    const Index* row = blocks_.rows(block);
    problem_.rows.dots(row, blocks_.size(block), subset.sum(), r.data());
    for (Index a = 0; a < blocks_.size(block); ++a) {
      const float pull = subset.removed(row[a]) ? -2.0F * r[a] : 2.0F * r[a];
      cost[row[a]] = pull + static_cast<float>(problem_.squared_norms[row[a]]);
    }
  }
  std::vector<Index> rows(blocks_.rows(0), blocks_.rows(0) + blocks_.free_rows());
  const auto last = rows.begin() + std::min(most, blocks_.free_rows());
  std::nth_element(rows.begin(), last - 1, rows.end(), [&](Index a, Index b) {
    return cost[a] != cost[b] ? cost[a] < cost[b] : a < b;
  });
  rows.erase(last, rows.end());
  std::sort(rows.begin(), rows.end());
  return rows;
}

void BlockAnnealer::finish(const Effort& effort, double end, double target, Random& random,
                           Subset& subset, Monitor& monitor) {
  const FlushDenormals flush;
  const bool whole = blocks_.count() == 1;
  std::vector<Index> rows;
  if (whole) {
    rows.assign(blocks_.rows(0), blocks_.rows(0) + blocks_.free_rows());
  } else {
    rows = cheapest(subset, kLastRows);
  }
  const auto count = static_cast<Index>(rows.size());
  std::vector<float> own;
  const bool known = whole && &metric_ == &problem_;  // the matrix of these rows
  if (!known) {
    own.resize(rows.size() * rows.size());
    problem_.rows.gram(rows.data(), count, own.data());
  }
  const float* K = known ? blocks_.gram(0) : own.data();
  if (whole) {
    const double sweep = (kNumbersPerProposal + static_cast<double>(problem_.rows.width()));
    const double steps = kTabuShare * static_cast<double>(effort.sweeps) * sweep / kNumbersPerStep;
    search_tabu(problem_, rows.data(), count, K, static_cast<std::int64_t>(std::ceil(steps)),
                target, subset, random, [&] { return monitor.stop() || monitor.seconds() > end; });
  }
  // A swap looks at all pairs; together they may cost as much as the walk's proposals did.
  const auto proposals = static_cast<double>(kPasses * effort.sweeps * blocks_.free_rows());
  const double pairs = static_cast<double>(count) * static_cast<double>(count) / 2.0;
  search_swaps(problem_, rows.data(), count, K, static_cast<Index>(std::ceil(proposals / pairs)),
               subset, monitor);
}

}  // namespace dprune
