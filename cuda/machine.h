// Where the operations run: a GPU, or the CPU in its place.
//
// An operation is a struct of its arguments whose operator()(team, number) is the work of one team
// of lanes: a thread block on the device (device_machine.cu), a few threads or one on the CPU
// (host_machine.cpp). Everything above, row stores and solver alike, is written against this
// interface and is tested on the CPU.
//
//   team.lane(), team.lanes()   this lane's number, and how many there are
//   team.sync()                 what lanes have written before it, all see after it
//   team.first(hit)             the first lane that says so, or lanes(); all get the answer
//   team.sum(x)                 sum over the lanes; all get it
//   team.scratch()              op.scratch() bytes of memory that the lanes share
//
// Operations run in the order they were issued; read() and wait() wait for them.
#pragma once

#include <cstddef>
#include <cstdio>
#include <stdexcept>
#include <string>
#include <utility>

#include "portable.h"

namespace dprune::cuda {

// Elements that a team takes of a long vector.
constexpr Index kChunk = 2048;

// C = op(A) op(B) + beta C, row-major, m x n with k terms each. Products of bfloat16 are summed in
// float32 and give float32; float32 is not rounded to TF32.
struct Product {
  Type type;  // of A and B
  bool transpose_a, transpose_b;
  Index m, n, k;
  const void* A;
  Index lda;
  const void* B;
  Index ldb;
  void* C;
  Index ldc;
  double beta;
};

class OutOfMemory : public std::runtime_error {
 public:
  OutOfMemory(const char* purpose, std::size_t needed, std::size_t free)
      : std::runtime_error("out of memory: " + std::string(purpose) + " need " + amount(needed) +
                           ", found " + amount(free) + " free") {}

 private:
  static std::string amount(std::size_t bytes) {
    char text[32];
    const auto value = static_cast<double>(bytes);
    if (bytes < 10'000'000) {
      std::snprintf(text, sizeof text, "%.0f bytes", value);
    } else {
      std::snprintf(text, sizeof text, "%.2f GB", value / 1e9);
    }
    return text;
  }
};

// clang-format off
#define DPRUNE_EACH_OPERATION(X)                                                         \
  X(Gather) X(Split) X(SumParts) X(Multiply) X(ScaleColumns) X(Contract)                \
  X(ContractDouble) X(Spread)                                                           \
  X(Widen) X(GroupSums) X(FoldSegments) X(RowSums) X(RowHashes) X(Walk) X(Measure)       \
  X(CopyChains) X(OuterRows) X(SoftmaxErrors) X(SoftmaxCurvature) X(SoftmaxCurvatureDouble)
// clang-format on

#define DPRUNE_DECLARE(Op) struct Op;
DPRUNE_EACH_OPERATION(DPRUNE_DECLARE)
#undef DPRUNE_DECLARE

class Machine {
 public:
  Machine() = default;
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;
  virtual ~Machine() = default;

  // Throws OutOfMemory, which says what for, how much was needed and how much there was.
  virtual void* allocate(std::size_t bytes, const char* purpose) = 0;
  virtual void release(void* memory) noexcept = 0;
  virtual std::size_t free_bytes() = 0;
  virtual void write(void* to, const void* from, std::size_t bytes) = 0;  // from the host
  virtual void read(void* to, const void* from, std::size_t bytes) = 0;   // to the host
  virtual void zero(void* memory, std::size_t bytes) = 0;
  virtual void wait() = 0;

  virtual void product(const Product& product) = 0;

#define DPRUNE_DECLARE(Op) virtual void run(const Op& op) = 0;
  DPRUNE_EACH_OPERATION(DPRUNE_DECLARE)
#undef DPRUNE_DECLARE
};

// Memory of a machine. Grows, never shrinks; its contents are lost when it grows.
template <class T>
class Buffer {
 public:
  Buffer(Machine& machine, const char* purpose) : machine_(&machine), purpose_(purpose) {}
  Buffer(Machine& machine, const char* purpose, Index count) : Buffer(machine, purpose) {
    reserve(count);
  }
  Buffer(Buffer&& other) noexcept
      : machine_(other.machine_),
        purpose_(other.purpose_),
        data_(std::exchange(other.data_, nullptr)),
        count_(std::exchange(other.count_, 0)) {}
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() {
    if (data_) machine_->release(data_);
  }

  T* data() const { return data_; }
  Index size() const { return count_; }

  T* reserve(Index count) {
    if (count > count_) {
      if (data_) machine_->release(std::exchange(data_, nullptr));
      count_ = 0;
      data_ = static_cast<T*>(
          machine_->allocate(static_cast<std::size_t>(count) * sizeof(T), purpose_));
      count_ = count;
    }
    return data_;
  }
  // Room for count elements, filled from the host.
  T* write(const T* from, Index count) {
    reserve(count);
    machine_->write(data_, from, static_cast<std::size_t>(count) * sizeof(T));
    return data_;
  }
  T* zeros(Index count) {
    reserve(count);
    machine_->zero(data_, static_cast<std::size_t>(count) * sizeof(T));
    return data_;
  }
  void read(T* to, Index count) const {
    machine_->read(to, data_, static_cast<std::size_t>(count) * sizeof(T));
  }

 private:
  Machine* machine_;
  const char* purpose_;
  T* data_ = nullptr;
  Index count_ = 0;
};

}  // namespace dprune::cuda
