// Threads for coarse work: chains, blocks, ranges of rows. Starting one costs tens of
// microseconds, so never single moves.
#pragma once

#include <algorithm>
#include <atomic>
#include <chrono>
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

// job(0), job(1), ... on several threads, the caller's among them, taken in order. The caller
// calls idle() every few milliseconds while it only waits. The first exception is rethrown.
template <class Job, class Idle>
void parallel_jobs(Index jobs, int threads, const Job& job, const Idle& idle) {
  std::atomic<Index> next{0};
  std::atomic<Index> running{0};
  std::exception_ptr failure;
  std::mutex guard;
  const auto work = [&] {
    try {
      for (Index k = next++; k < jobs; k = next++) job(k);
    } catch (...) {
      const std::lock_guard<std::mutex> lock(guard);
      if (!failure) failure = std::current_exception();
      next = jobs;
    }
    --running;
  };
  const Index helpers = std::min<Index>(threads, jobs) - 1;
  running = helpers + 1;
  std::vector<std::thread> pool;
  pool.reserve(static_cast<std::size_t>(std::max<Index>(0, helpers)));
  for (Index k = 0; k < helpers; ++k) pool.emplace_back(work);
  work();
  try {
    for (; running > 0; std::this_thread::sleep_for(std::chrono::milliseconds(1))) idle();
  } catch (...) {
    const std::lock_guard<std::mutex> lock(guard);
    if (!failure) failure = std::current_exception();
  }
  for (auto& thread : pool) thread.join();
  if (failure) std::rethrow_exception(failure);
}

}  // namespace dprune
