// Threads for coarse work: chains, blocks, ranges of rows. Starting one costs tens of
// microseconds, so never single moves.
#pragma once

#include <algorithm>
#include <exception>
#include <mutex>
#include <thread>
#include <vector>

#include "matrix.h"

namespace dprune {

inline int hardware_threads() {
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()));
}

// work(begin, end) on contiguous ranges that cover 0..size; the first exception is rethrown.
template <class Work>
void parallel_ranges(Index size, int threads, const Work& work) {
  const Index parts = std::max<Index>(1, std::min<Index>(threads, size));
  if (parts == 1) {
    work(Index{0}, size);
    return;
  }
  std::exception_ptr failure;
  std::mutex guard;
  std::vector<std::thread> pool;
  pool.reserve(static_cast<std::size_t>(parts));
  for (Index part = 0; part < parts; ++part) {
    pool.emplace_back([&, part] {
      try {
        work(size * part / parts, size * (part + 1) / parts);
      } catch (...) {
        const std::lock_guard<std::mutex> lock(guard);
        if (!failure) failure = std::current_exception();
      }
    });
  }
  for (auto& thread : pool) thread.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace dprune
