// Block annealing (cpp/block_anneal.h) for many chains at once: the operations of one visit.
//
// A team walks one chain over one block of b rows, loaded for all chains. What a proposal needs
// lies in the team's scratch memory: per row the field 2 <S_i, u> + pull, the sign of its next
// flip, K_ii. All lanes look at their rows' proposals at once, the first accepted one is carried
// out by all (field += 2 s K_i), and the search goes on behind it: the walk of the CPU's solver,
// proposal by proposal, in any number of lanes. K stays in the second-level cache, where the other
// chains find it too.
//
// The penalty kappa e_s^2 of stratum s is what one more column of S, sqrt(kappa) where i belongs to
// s, would add. Its multiplier mu_s and the caps of groups are each chain's own.
#pragma once

#include "machine.h"
#include "rng.h"

namespace dprune::cuda {

// The state of all chains; each array holds one entry, or row, a chain.
struct Chains {
  Index count;
  Index n;
  Index stride;  // of masks: n rounded up to whole words
  Index width;   // N
  Index strata;
  Index groups;
  bool proportional;
  const Index* labels;  // of the n samples
  const Index* caps;    // most removed of each group, where not proportional

  std::uint8_t* mask;  // 1: removed
  float* u;            // sum_W S_i - c m Sbar, in the metric of the walk
  float* judged;       // the same in that of the problem; u itself where they are one
  double* mu;          // multiplier of each stratum's excess, in units of the temperature
  Index* excess;       // removed beyond the target, by stratum
  Index* counts;       // removed, by group
  Index* violation;    // sum of squared excesses
  double* energy;      // ||u||^2
  double* judged_energy;
  Index* accepted;  // flips since the last Measure

  std::uint8_t* best;  // of the best subset on target: mask and energy, as judged
  double* best_energy;

  DPRUNE_HD bool one_metric() const { return judged == u; }
  DPRUNE_HD Index stratum(Index i) const { return proportional ? labels[i] : 0; }
};

// -log of a uniform number made from (key, lane): the hash and the logarithm of next_accepted in
// cpp/kernels.cpp, step by step.
DPRUNE_HD inline float exponential(std::uint32_t key, std::uint32_t lane) {
  std::uint32_t x = lane * 0x9e3779b9U + key;
  x ^= x >> 16;
  x *= 0x7feb352dU;
  x ^= x >> 15;
  x *= 0x846ca68bU;
  x ^= x >> 16;
  const float uniform = static_cast<float>(x >> 8) + 0.5F;
  std::int32_t bits;
  memcpy(&bits, &uniform, sizeof bits);
  const float exponent = static_cast<float>((bits >> 23) - 127);
  bits = (bits & 0x7fffff) | 0x3f800000;
  float mantissa;
  memcpy(&mantissa, &bits, sizeof mantissa);
  float log2 = mantissa * -0.0821343F + 0.649732F;
  log2 = log2 * mantissa - 2.1346F;
  log2 = log2 * mantissa + 4.0700F;
  log2 = log2 * mantissa - 2.5030F;
  return (24.0F - exponent - log2) * 0.693147181F;
}

// Words of 8 bytes: masks are padded to them.
template <class Team>
DPRUNE_HD void copy_words(const Team& team, const void* from, void* to, Index bytes) {
  const auto* source = static_cast<const std::uint64_t*>(from);
  auto* target = static_cast<std::uint64_t*>(to);
  for (Index k = team.lane(); k < bytes / 8; k += team.lanes()) target[k] = source[k];
}

template <class T, class Team>
DPRUNE_HD void copy_entries(const Team& team, const T* from, T* to, Index count) {
  for (Index k = team.lane(); k < count; k += team.lanes()) to[k] = from[k];
}

// One visit of every chain to a block. A team a chain.
struct Walk {
  Chains chains;
  const Index* rows;  // of the block
  Index size;
  const float* K;     // size x size
  const float* dots;  // chains x size: <S_i, u>
  float* flips;       // chains x size, out: net flips, +1 now removed, -1 returned, 0
  float temperature;
  double kappa;
  double share;  // of the free rows that are in this block
  int passes;    // most over the block, ended sooner by so many accepted flips
  Index enough;
  std::uint64_t draw;

  Index teams() const { return chains.count; }
  std::size_t scratch() const { return static_cast<std::size_t>(size) * 17; }

  template <class Team>
  DPRUNE_HD void operator()(const Team& team, Index chain) const {
    auto* field = static_cast<float*>(team.scratch());
    float* sign = field + size;
    float* cost = sign + size;
    auto* stratum = reinterpret_cast<std::int32_t*>(cost + size);
    auto* odd = reinterpret_cast<std::uint8_t*>(stratum + size);
    std::uint8_t* mask = chains.mask + chain * chains.stride;
    Index* excess = chains.excess + chain * chains.strata;
    Index* counts = chains.counts + chain * chains.groups;
    double* mu = chains.mu + chain * chains.strata;
    // What one more flip in a stratum gains or costs besides the change of ||u||^2.
    const auto heat = static_cast<double>(temperature);
    const auto pull = [&](Index s) {
      return heat * mu[s] + 2.0 * kappa * static_cast<double>(excess[s]);
    };

    for (Index a = team.lane(); a < size; a += team.lanes()) {
      const double dot = static_cast<double>(dots[chain * size + a]);
      stratum[a] = static_cast<std::int32_t>(chains.stratum(rows[a]));
      field[a] = static_cast<float>(2.0 * dot + pull(stratum[a]));
      sign[a] = mask[rows[a]] ? -1.0F : 1.0F;
      cost[a] = K[a * size + a] + static_cast<float>(kappa);
      odd[a] = 0;
    }
    const bool leader = team.lane() == 0;
    double energy = chains.energy[chain];
    Index violation = chains.violation[chain];
    team.sync();

    Index accepted = 0;
    for (int pass = 0; pass < passes && accepted < enough; ++pass) {
      const auto key = static_cast<std::uint32_t>(
          mix64(draw + static_cast<std::uint64_t>(chain * passes + pass)));
      const auto hit = [&](Index a) {
        if (sign[a] * field[a] + cost[a] >=
            temperature * exponential(key, static_cast<std::uint32_t>(a))) {
          return false;
        }
        const Index g = chains.labels[rows[a]];
        return chains.proportional || sign[a] < 0.0F || counts[g] < chains.caps[g];
      };
      for (Index a = next(team, 0, hit); a < size; a = next(team, a + 1, hit)) {
        const float s = sign[a];
        const float old_field = field[a];
        team.sync();
        const float* row = K + a * size;
        for (Index b = team.lane(); b < size; b += team.lanes()) {
          const float joined = stratum[a] == stratum[b] ? static_cast<float>(kappa) : 0.0F;
          field[b] += 2.0F * s * (row[b] + joined);
        }
        if (leader) {
          const Index own = stratum[a];
          const Index step = s > 0.0F ? 1 : -1;
          energy += static_cast<double>(cost[a]) - kappa +
                    static_cast<double>(s) * (static_cast<double>(old_field) - pull(own));
          violation += step * (2 * excess[own] + step);
          excess[own] += step;
          counts[chains.labels[rows[a]]] += step;
          sign[a] = -s;
          odd[a] ^= 1;
        }
        ++accepted;
        team.sync();
      }
    }

    for (Index a = team.lane(); a < size; a += team.lanes()) {
      // A removed sample's next sign is -1.
      flips[chain * size + a] = odd[a] ? -sign[a] : 0.0F;
      mask[rows[a]] = sign[a] < 0.0F;
    }
    if (leader) {
      chains.energy[chain] = energy;
      chains.violation[chain] = violation;
      chains.accepted[chain] += accepted;
    }
    team.sync();
    for (Index s = team.lane(); s < chains.strata; s += team.lanes()) {
      mu[s] += share * kappa / heat * static_cast<double>(excess[s]);
    }
    // A better subset on target is kept, small gains only at the end of a sweep (Measure), and so
    // all where the walk does not know what they are worth.
    if (chains.one_metric() && chains.violation[chain] == 0 &&
        chains.energy[chain] < 0.999 * chains.best_energy[chain]) {
      team.sync();
      copy_words(team, mask, chains.best + chain * chains.stride, chains.stride);
      if (leader) chains.best_energy[chain] = energy;
    }
  }

 private:
  // The first row from `begin` on whose proposal is accepted, or size.
  template <class Team, class Hit>
  DPRUNE_HD Index next(const Team& team, Index begin, const Hit& hit) const {
    const Index lanes = team.lanes();
    for (Index start = begin / lanes * lanes; start < size; start += lanes) {
      const Index a = start + team.lane();
      const Index found = team.first(a >= begin && a < size && hit(a));
      if (found < lanes) return start + found;
    }
    return size;
  }
};

// The end of a sweep: energies afresh from the running sums, the best subsets on target, the
// counts of accepted flips moved to `accepted`. A team a chain.
struct Measure {
  Chains chains;

  Index teams() const { return chains.count; }
  std::size_t scratch() const { return 0; }

  template <class Team>
  DPRUNE_HD void operator()(const Team& team, Index chain) const {
    const double energy = squared_norm(team, chains.u, chain);
    const double judged = chains.one_metric() ? energy : squared_norm(team, chains.judged, chain);
    const bool better = chains.violation[chain] == 0 && judged < chains.best_energy[chain];
    team.sync();
    if (team.lane() == 0) {
      chains.energy[chain] = energy;
      chains.judged_energy[chain] = judged;
      if (better) chains.best_energy[chain] = judged;
    }
    if (better) {
      copy_words(team, chains.mask + chain * chains.stride, chains.best + chain * chains.stride,
                 chains.stride);
    }
  }

 private:
  template <class Team>
  DPRUNE_HD double squared_norm(const Team& team, const float* sums, Index chain) const {
    const float* u = sums + chain * chains.width;
    double total = 0.0;
    for (Index j = team.lane(); j < chains.width; j += team.lanes()) {
      total += static_cast<double>(u[j]) * static_cast<double>(u[j]);
    }
    return team.sum(total);
  }
};

// Chain c becomes a copy of chain parents[c]; parents are their own. Best subsets stay. A team a
// chain.
struct CopyChains {
  Chains chains;
  const Index* parents;

  Index teams() const { return chains.count; }
  std::size_t scratch() const { return 0; }

  template <class Team>
  DPRUNE_HD void operator()(const Team& team, Index to) const {
    const Index from = parents[to];
    if (from == to) return;
    copy_words(team, chains.mask + from * chains.stride, chains.mask + to * chains.stride,
               chains.stride);
    const auto copy = [&](auto* array, Index count) {
      copy_entries(team, array + from * count, array + to * count, count);
    };
    copy(chains.u, chains.width);
    if (!chains.one_metric()) copy(chains.judged, chains.width);
    copy(chains.mu, chains.strata);
    copy(chains.excess, chains.strata);
    copy(chains.counts, chains.groups);
    copy(chains.violation, 1);
    copy(chains.energy, 1);
  }
};

}  // namespace dprune::cuda
