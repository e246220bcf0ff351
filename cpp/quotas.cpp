#include "quotas.h"

#include <algorithm>
#include <numeric>
#include <stdexcept>
#include <string>
#include <utility>

namespace dprune {

Quotas::Quotas(std::vector<Index> labels, std::vector<Index> floors, bool proportional)
    : labels_(std::move(labels)),
      sizes_(floors.size(), 0),
      floors_(std::move(floors)),
      proportional_(proportional) {
  for (const Index g : labels_) {
    if (g < 0 || g >= groups()) throw std::invalid_argument("group label out of range");
    ++sizes_[g];
  }
  for (Index g = 0; g < groups(); ++g) floors_[g] = std::min(floors_[g], sizes_[g]);
}

Index Quotas::most_removable() const {
  const Index floors = std::accumulate(floors_.begin(), floors_.end(), Index{0});
  return static_cast<Index>(labels_.size()) - floors;
}

Bounds Quotas::bounds(Index m) const {
  if (m < 0 || m > most_removable()) {
    throw std::invalid_argument("cannot remove " + std::to_string(m) + " samples: at most " +
                                std::to_string(most_removable()) +
                                " can go under min_keep and protect");
  }
  Bounds bounds{std::vector<Index>(sizes_.size(), 0), sizes_};
  if (proportional_) {
    const auto kept = apportion(static_cast<Index>(labels_.size()) - m);
    for (Index g = 0; g < groups(); ++g) bounds.lo[g] = bounds.hi[g] = sizes_[g] - kept[g];
  } else {
    for (Index g = 0; g < groups(); ++g) bounds.hi[g] = sizes_[g] - floors_[g];
  }
  return bounds;
}

std::vector<Index> Quotas::apportion(Index kept) const {
  std::vector<Index> counts(sizes_.size(), 0);
  std::vector<Index> open(sizes_.size());
  std::iota(open.begin(), open.end(), Index{0});
  while (!open.empty()) {
    Index size = 0;
    for (const Index g : open) size += sizes_[g];
    if (size == 0) break;
    Index left = kept;
    for (const Index g : open) left -= (counts[g] = sizes_[g] * kept / size);
    auto by_remainder = open;
    std::sort(by_remainder.begin(), by_remainder.end(), [&](Index a, Index b) {
      const Index ra = sizes_[a] * kept % size;
      const Index rb = sizes_[b] * kept % size;
      return ra != rb ? ra > rb : a < b;
    });
    for (Index k = 0; k < left; ++k) ++counts[by_remainder[k]];

    std::vector<Index> still_open;
    for (const Index g : open) {
      if (counts[g] < floors_[g]) {
        kept -= (counts[g] = floors_[g]);
      } else {
        still_open.push_back(g);
      }
    }
    if (still_open.size() == open.size()) break;
    open = std::move(still_open);
  }
  return counts;
}

}  // namespace dprune
