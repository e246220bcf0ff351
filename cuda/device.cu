// Lists the CUDA devices. Without a driver the runtime reports an error on its first call; that
// error is cleared, so that a machine without a GPU can import and ask.
#include <cuda_runtime_api.h>

#include "device.h"

namespace dprune::cuda {

std::vector<Device> devices() {
  int count = 0;
  if (cudaGetDeviceCount(&count) != cudaSuccess) {
    cudaGetLastError();
    return {};
  }
  std::vector<Device> found;
  for (int id = 0; id < count; ++id) {
    cudaDeviceProp properties{};
    if (cudaGetDeviceProperties(&properties, id) != cudaSuccess) {
      cudaGetLastError();
      continue;
    }
    found.push_back({properties.name, properties.major, properties.minor,
                     properties.multiProcessorCount, properties.totalGlobalMem});
  }
  return found;
}

}  // namespace dprune::cuda
