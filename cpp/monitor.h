// The search's view of the outside: clock, time limit, trace, and someone who may say stop. Walks
// on several threads share one.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <mutex>
#include <thread>
#include <vector>

#include "matrix.h"

namespace dprune {

enum class Status { kConverged, kTimeLimit, kStopped };

struct TracePoint {
  double seconds;
  std::int64_t sweep;
  double norm;  // change_c of the best subset so far
  Index removed;
};

class Monitor {
 public:
  // Asked some twenty times a second with the best so far; true ends the search. May throw.
  using Hook = std::function<bool(const TracePoint&)>;

  // Subsets above eps are no answers and leave no trace (Eq. 4: infinity).
  Monitor(double time_limit, double eps, Hook hook);

  double seconds() const;       // since the start
  double seconds_left() const;  // infinite without a limit
  // Out of time, or told to stop. Cheap: poll it every fraction of a millisecond. The hook is only
  // ever called on the thread that made the monitor; if it throws, the other threads stop.
  bool stop();
  // The sweeps planned were cut to fit the time limit.
  void cut_short() { status_ = Status::kTimeLimit; }
  Status status() const { return status_; }

  void sweep_done(double norm, Index removed);
  // Notes a subset if it is better than all before: more removed, or as many at a lower norm.
  void record(double norm, Index removed);

  std::int64_t sweeps() const { return sweeps_; }
  const std::vector<TracePoint>& trace() const { return trace_; }

 private:
  void note(double norm, Index removed);

  double start_;
  double time_limit_;
  double eps_;
  Hook hook_;
  double next_hook_ = 0.0;
  std::thread::id owner_ = std::this_thread::get_id();
  std::atomic<Status> status_{Status::kConverged};
  std::atomic<bool> stopped_{false};
  std::mutex guard_;  // of what follows
  std::int64_t sweeps_ = 0;
  std::vector<TracePoint> trace_;
};

}  // namespace dprune
