#include "host_machine.h"

#include <condition_variable>
#include <cstdlib>
#include <memory>
#include <mutex>
#include <new>
#include <thread>
#include <vector>

#include "column_major.h"
#include "gradients.h"
#include "row_operations.h"
#include "walk.h"

namespace dprune::cuda {
namespace {

// A team of one: nobody to wait for.
class Alone {
 public:
  explicit Alone(void* scratch) : scratch_(scratch) {}
  Index lane() const { return 0; }
  Index lanes() const { return 1; }
  void sync() const {}
  Index first(bool hit) const { return hit ? 0 : 1; }
  double sum(double x) const { return x; }
  void* scratch() const { return scratch_; }

 private:
  void* scratch_;
};

// What the threads of a team share: a barrier and a place for each.
class Meeting {
 public:
  explicit Meeting(Index lanes) : places(lanes), lanes_(lanes) {}

  void wait() {
    std::unique_lock<std::mutex> lock(guard_);
    const auto round = round_;
    if (++arrived_ == lanes_) {
      arrived_ = 0;
      ++round_;
      all_here_.notify_all();
    } else {
      all_here_.wait(lock, [&] { return round_ != round; });
    }
  }

  std::vector<double> places;

 private:
  Index lanes_;
  Index arrived_ = 0;
  std::uint64_t round_ = 0;
  std::mutex guard_;
  std::condition_variable all_here_;
};

class Threads {
 public:
  Threads(Index lane, Meeting& meeting, void* scratch)
      : lane_(lane), meeting_(meeting), scratch_(scratch) {}
  Index lane() const { return lane_; }
  Index lanes() const { return static_cast<Index>(meeting_.places.size()); }
  void sync() const { meeting_.wait(); }
  Index first(bool hit) const {
    share(hit ? 1.0 : 0.0);
    Index found = 0;
    while (found < lanes() && meeting_.places[found] == 0.0) ++found;
    meeting_.wait();
    return found;
  }
  double sum(double x) const {
    share(x);
    double total = 0.0;
    for (const double place : meeting_.places) total += place;
    meeting_.wait();
    return total;
  }
  void* scratch() const { return scratch_; }

 private:
  void share(double x) const {
    meeting_.places[lane_] = x;
    meeting_.wait();
  }

  Index lane_;
  Meeting& meeting_;
  void* scratch_;
};

// BLAS's own definition, column-major; sums in the type of the result.
template <class In, class Out, class Read>
void multiply(const ColumnMajor& p, Out* C, double beta, const Read& value) {
  const auto at = [](const In* data, bool transposed, Index stride, Index row, Index column) {
    return data[transposed ? column + row * stride : row + column * stride];
  };
  const auto* left = static_cast<const In*>(p.left);
  const auto* right = static_cast<const In*>(p.right);
  for (Index column = 0; column < p.columns; ++column) {
    for (Index row = 0; row < p.rows; ++row) {
      Out sum = 0;
      for (Index k = 0; k < p.terms; ++k) {
        sum += value(at(left, p.transpose_left, p.stride_left, row, k)) *
               value(at(right, p.transpose_right, p.stride_right, k, column));
      }
      Out& c = C[row + column * static_cast<Index>(p.stride_out)];
      c = sum + (beta == 0.0 ? Out{0} : static_cast<Out>(beta) * c);
    }
  }
}

}  // namespace

HostMachine::HostMachine(int lanes, std::size_t limit) : lanes_(lanes), limit_(limit) {
  if (lanes < 1) throw std::invalid_argument("lanes must be at least 1");
}

void* HostMachine::allocate(std::size_t bytes, const char* purpose) {
  if (bytes > free_bytes()) throw OutOfMemory(purpose, bytes, free_bytes());
  void* memory = std::malloc(bytes > 0 ? bytes : 1);
  if (!memory) throw std::bad_alloc();
  held_ += bytes;
  sizes_[memory] = bytes;
  return memory;
}

void HostMachine::release(void* memory) noexcept {
  const auto found = sizes_.find(memory);
  held_ -= found->second;
  sizes_.erase(found);
  std::free(memory);
}

void HostMachine::write(void* to, const void* from, std::size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}
void HostMachine::read(void* to, const void* from, std::size_t bytes) {
  if (bytes > 0) std::memcpy(to, from, bytes);
}
void HostMachine::zero(void* memory, std::size_t bytes) { std::memset(memory, 0, bytes); }

void HostMachine::product(const Product& p) {
  const ColumnMajor columns = column_major(p);
  const auto plain = [](auto x) { return x; };
  if (p.type == Type::kFloat64) {
    multiply<double>(columns, static_cast<double*>(p.C), p.beta, plain);
  } else if (p.type == Type::kFloat32) {
    multiply<float>(columns, static_cast<float*>(p.C), p.beta, plain);
  } else {
    multiply<Bfloat16>(columns, static_cast<float*>(p.C), p.beta,
                       [](Bfloat16 x) { return to_float(x); });
  }
}

template <class Op>
void HostMachine::loop(const Op& op) const {
  // Doubles, for their alignment.
  std::vector<double> scratch(op.scratch() / sizeof(double) + 1);
  const Index teams = op.teams();
  if (lanes_ == 1) {
    for (Index number = 0; number < teams; ++number) op(Alone(scratch.data()), number);
    return;
  }
  Meeting meeting(lanes_);
  std::vector<std::thread> pool;
  pool.reserve(static_cast<std::size_t>(lanes_));
  for (Index lane = 0; lane < lanes_; ++lane) {
    pool.emplace_back([&, lane] {
      for (Index number = 0; number < teams; ++number) {
        op(Threads(lane, meeting, scratch.data()), number);
        meeting.wait();
      }
    });
  }
  for (auto& thread : pool) thread.join();
}

#define DPRUNE_DEFINE(Op) \
  void HostMachine::run(const Op& op) { loop(op); }
DPRUNE_EACH_OPERATION(DPRUNE_DEFINE)
#undef DPRUNE_DEFINE

}  // namespace dprune::cuda
