// cuBLAS, found when first needed: beside a CUDA build of PyTorch it is in the process already.
// Nothing is linked, and no header of it is needed.
#pragma once

#include "machine.h"

namespace dprune::cuda {

class Blas {
 public:
  // stream: a cudaStream_t. Throws std::runtime_error where there is no cuBLAS.
  explicit Blas(void* stream);
  Blas(const Blas&) = delete;
  Blas& operator=(const Blas&) = delete;
  ~Blas();

  void product(const Product& product);

 private:
  void* handle_ = nullptr;
};

}  // namespace dprune::cuda
