// A CUDA device and a stream as a Machine. No CUDA header is visible from here.
#pragma once

#include <memory>
#include <optional>

#include "blas.h"
#include "machine.h"

namespace dprune::cuda {

class DeviceMachine final : public Machine {
 public:
  // stream: a cudaStream_t of that device; null: its default stream. The caller keeps it alive.
  // Throws std::runtime_error where there is no such device.
  DeviceMachine(int device, void* stream);
  ~DeviceMachine() override;

  void* allocate(std::size_t bytes, const char* purpose) override;
  void release(void* memory) noexcept override;
  std::size_t free_bytes() override;
  void write(void* to, const void* from, std::size_t bytes) override;
  void read(void* to, const void* from, std::size_t bytes) override;
  void zero(void* memory, std::size_t bytes) override;
  void wait() override;
  void product(const Product& product) override;

#define DPRUNE_DECLARE(Op) void run(const Op& op) override;
  DPRUNE_EACH_OPERATION(DPRUNE_DECLARE)
#undef DPRUNE_DECLARE

 private:
  template <class Op>
  void launch(const Op& op);

  int device_;
  void* stream_;
  std::optional<Blas> blas_;  // from the first product on
};

}  // namespace dprune::cuda
