#include "monitor.h"

#include <chrono>
#include <utility>

namespace dprune {
namespace {

constexpr double kHookInterval = 0.05;
// A longer trace is thinned to every second point.
constexpr std::size_t kMostTracePoints = 2000;

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace

Monitor::Monitor(double time_limit, double eps, Hook hook)
    : start_(now()), time_limit_(time_limit), eps_(eps), hook_(std::move(hook)) {}

double Monitor::seconds() const { return now() - start_; }

double Monitor::seconds_left() const { return time_limit_ - seconds(); }

bool Monitor::stop() {
  if (stopped_) return true;
  const double time = seconds();
  if (time >= time_limit_) {
    status_ = Status::kTimeLimit;
    stopped_ = true;
  } else if (hook_ && std::this_thread::get_id() == owner_ && time >= next_hook_) {
    TracePoint point{};
    {
      const std::lock_guard<std::mutex> lock(guard_);
      if (trace_.empty()) return false;
      point = trace_.back();
      point.sweep = sweeps_;
    }
    next_hook_ = time + kHookInterval;
    point.seconds = time;
    try {
      if (hook_(point)) {
        status_ = Status::kStopped;
        stopped_ = true;
      }
    } catch (...) {
      stopped_ = true;
      throw;
    }
  }
  return stopped_;
}

void Monitor::sweep_done(double norm, Index removed) {
  const std::lock_guard<std::mutex> lock(guard_);
  ++sweeps_;
  note(norm, removed);
}

void Monitor::record(double norm, Index removed) {
  const std::lock_guard<std::mutex> lock(guard_);
  note(norm, removed);
}

void Monitor::note(double norm, Index removed) {
  if (!(norm <= eps_)) return;
  if (!trace_.empty()) {
    const TracePoint& last = trace_.back();
    if (removed < last.removed || (removed == last.removed && norm >= last.norm)) return;
  }
  trace_.push_back({seconds(), sweeps_, norm, removed});
  if (trace_.size() > kMostTracePoints) {
    std::size_t kept = 0;
    for (std::size_t k = trace_.size() % 2 ? 0 : 1; k < trace_.size(); k += 2) {
      trace_[kept++] = trace_[k];
    }
    trace_.resize(kept);
  }
}

}  // namespace dprune
