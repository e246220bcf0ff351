// The devices this process can use. No CUDA header is visible from here.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace dprune::cuda {

struct Device {
  std::string name;
  int major;  // compute capability
  int minor;
  int multiprocessors;
  std::size_t memory_bytes;
};

// Empty where there is no driver or no device: absence is an answer here, not an error.
std::vector<Device> devices();

}  // namespace dprune::cuda
