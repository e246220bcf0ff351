// The operations on a CUDA device.
//
// One kernel runs them all: a thread block of 256 is a team, its threads are the lanes, block b
// works on teams b, b + grid, ... What an operation computes, and how its lanes share it, stands
// with the operation; what is here is what a team is made of.
//
//   first   a ballot in each of 8 warps, whose masks every lane then reads; two sets of masks in
//           turn, so that one barrier a call is enough
//   sum     shuffles within a warp, then over the warps in their order: the same bits every time
//
// Multiplication and addition are not fused (--fmad=false): the walk then takes the same turns as
// on the CPU wherever it is given the same inner products.
#include <cuda_runtime.h>

#include <limits>
#include <string>

#include "device_machine.h"
#include "gradients.h"
#include "row_operations.h"
#include "walk.h"

namespace dprune::cuda {
namespace {

constexpr int kLanes = 256;
constexpr int kWarps = kLanes / 32;
constexpr unsigned kAllLanes = 0xffffffffU;

void check(cudaError_t status, const char* call) {
  if (status == cudaSuccess) return;
  cudaGetLastError();
  throw std::runtime_error(std::string(call) + ": " + cudaGetErrorString(status));
}

// Makes a device current, and the caller's device again at the end.
class Current {
 public:
  explicit Current(int device) {
    check(cudaGetDevice(&before_), "cudaGetDevice");
    if (before_ != device) check(cudaSetDevice(device), "cudaSetDevice");
    changed_ = before_ != device;
  }
  Current(const Current&) = delete;
  Current& operator=(const Current&) = delete;
  ~Current() {
    if (changed_) cudaSetDevice(before_);
  }

 private:
  int before_ = 0;
  bool changed_ = false;
};

struct Shared {
  unsigned masks[2][kWarps];
  double sums[kWarps];
};

class ThreadBlock {
 public:
  __device__ ThreadBlock(Shared& shared, void* scratch) : shared_(shared), scratch_(scratch) {}

  __device__ Index lane() const { return threadIdx.x; }
  __device__ Index lanes() const { return kLanes; }
  __device__ void sync() const { __syncthreads(); }

  __device__ Index first(bool hit) const {
    turn_ ^= 1;
    const unsigned mask = __ballot_sync(kAllLanes, hit);
    if (threadIdx.x % 32 == 0) shared_.masks[turn_][threadIdx.x / 32] = mask;
    __syncthreads();
    for (int warp = 0; warp < kWarps; ++warp) {
      const unsigned hits = shared_.masks[turn_][warp];
      if (hits != 0) return warp * 32 + __ffs(static_cast<int>(hits)) - 1;
    }
    return kLanes;
  }

  __device__ double sum(double x) const {
    for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(kAllLanes, x, step);
    __syncthreads();
    if (threadIdx.x % 32 == 0) shared_.sums[threadIdx.x / 32] = x;
    __syncthreads();
    double total = 0.0;
    for (int warp = 0; warp < kWarps; ++warp) total += shared_.sums[warp];
    return total;
  }

  __device__ void* scratch() const { return scratch_; }

 private:
  Shared& shared_;
  void* scratch_;
  mutable int turn_ = 0;
};

template <class Op>
__global__ void __launch_bounds__(kLanes) team_kernel(const __grid_constant__ Op op, Index teams) {
  extern __shared__ double scratch[];
  __shared__ Shared shared;
  const ThreadBlock team(shared, scratch);
  for (Index number = blockIdx.x; number < teams; number += gridDim.x) {
    op(team, number);
    team.sync();
  }
}

cudaStream_t as_stream(void* stream) { return static_cast<cudaStream_t>(stream); }

}  // namespace

DeviceMachine::DeviceMachine(int device, void* stream) : device_(device), stream_(stream) {
  int count = 0;
  check(cudaGetDeviceCount(&count), "no usable CUDA device");
  if (device < 0 || device >= count) {
    throw std::runtime_error("there is no CUDA device " + std::to_string(device) + ", found " +
                             std::to_string(count));
  }
}

DeviceMachine::~DeviceMachine() = default;

void* DeviceMachine::allocate(std::size_t bytes, const char* purpose) {
  const Current current(device_);
  void* memory = nullptr;
  const cudaError_t status = cudaMallocAsync(&memory, bytes > 0 ? bytes : 1, as_stream(stream_));
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();  // not sticky: the device stays usable
    throw OutOfMemory(purpose, bytes, free_bytes());
  }
  check(status, "cudaMallocAsync");
  return memory;
}

void DeviceMachine::release(void* memory) noexcept {
  try {
    const Current current(device_);
    cudaFreeAsync(memory, as_stream(stream_));
  } catch (const std::runtime_error&) {
    cudaGetLastError();  // the context is gone, and its memory with it
  }
}

std::size_t DeviceMachine::free_bytes() {
  const Current current(device_);
  std::size_t free = 0;
  std::size_t total = 0;
  check(cudaMemGetInfo(&free, &total), "cudaMemGetInfo");
  return free;
}

void DeviceMachine::write(void* to, const void* from, std::size_t bytes) {
  const Current current(device_);
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, as_stream(stream_)),
        "cudaMemcpyAsync");
  // The caller's memory is the caller's again.
  check(cudaStreamSynchronize(as_stream(stream_)), "cudaStreamSynchronize");
}

void DeviceMachine::read(void* to, const void* from, std::size_t bytes) {
  const Current current(device_);
  check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, as_stream(stream_)),
        "cudaMemcpyAsync");
  check(cudaStreamSynchronize(as_stream(stream_)), "cudaStreamSynchronize");
}

void DeviceMachine::zero(void* memory, std::size_t bytes) {
  const Current current(device_);
  check(cudaMemsetAsync(memory, 0, bytes, as_stream(stream_)), "cudaMemsetAsync");
}

void DeviceMachine::wait() {
  const Current current(device_);
  check(cudaStreamSynchronize(as_stream(stream_)), "cudaStreamSynchronize");
}

void DeviceMachine::product(const Product& product) {
  if (product.m == 0 || product.n == 0) return;
  const Current current(device_);
  if (!blas_) blas_.emplace(stream_);
  blas_->product(product);
}

template <class Op>
void DeviceMachine::launch(const Op& op) {
  const Index teams = op.teams();
  if (teams == 0) return;
  const Current current(device_);
  const Index most = std::numeric_limits<int>::max();
  const auto grid = static_cast<unsigned>(teams < most ? teams : most);
  team_kernel<<<grid, kLanes, op.scratch(), as_stream(stream_)>>>(op, teams);
  check(cudaGetLastError(), "kernel launch");
}

#define DPRUNE_DEFINE(Op) \
  void DeviceMachine::run(const Op& op) { launch(op); }
DPRUNE_EACH_OPERATION(DPRUNE_DEFINE)
#undef DPRUNE_DEFINE

}  // namespace dprune::cuda
