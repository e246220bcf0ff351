// The CPU in the place of a GPU: every operation and every matrix product as plain loops.
//
// It exists to be compared with: slow, simple, and the same code team by team. With more than one
// lane the lanes of a team are threads that meet at barriers, as on a device.
#pragma once

#include <cstddef>
#include <unordered_map>

#include "machine.h"

namespace dprune::cuda {

class HostMachine final : public Machine {
 public:
  // limit: bytes that it hands out at most, to try what happens when memory runs out.
  explicit HostMachine(int lanes = 1, std::size_t limit = ~std::size_t{0});

  int lanes() const { return lanes_; }
  std::size_t held() const { return held_; }  // bytes handed out and not returned

  void* allocate(std::size_t bytes, const char* purpose) override;
  void release(void* memory) noexcept override;
  std::size_t free_bytes() override { return limit_ - held_; }
  void write(void* to, const void* from, std::size_t bytes) override;
  void read(void* to, const void* from, std::size_t bytes) override;
  void zero(void* memory, std::size_t bytes) override;
  void wait() override {}
  void product(const Product& product) override;

#define DPRUNE_DECLARE(Op) void run(const Op& op) override;
  DPRUNE_EACH_OPERATION(DPRUNE_DECLARE)
#undef DPRUNE_DECLARE

 private:
  template <class Op>
  void loop(const Op& op) const;

  int lanes_;
  std::size_t limit_;
  std::size_t held_ = 0;
  std::unordered_map<void*, std::size_t> sizes_;
};

}  // namespace dprune::cuda
