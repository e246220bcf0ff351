#include "blas.h"

#include <dlfcn.h>

#include <string>

#include "column_major.h"

namespace dprune::cuda {
namespace {

// From cublas_api.h and library_types.h, the same since CUDA 11.
constexpr int kFloat32 = 0, kFloat64 = 1, kBfloat16 = 14;  // cudaDataType_t
constexpr int kIn32 = 68, kIn64 = 70;                      // cublasComputeType_t
constexpr int kDefaultAlgorithm = -1;                      // cublasGemmAlgo_t
constexpr int kDefaultMath = 0;                            // cublasMath_t: no TF32

using Create = int (*)(void**);
using Destroy = int (*)(void*);
using SetStream = int (*)(void*, void*);
using SetMathMode = int (*)(void*, int);
using GemmEx = int (*)(void*, int, int, int, int, int, const void*, const void*, int, int,
                       const void*, int, int, const void*, void*, int, int, int, int);

struct Library {
  Create create;
  Destroy destroy;
  SetStream set_stream;
  SetMathMode set_math_mode;
  GemmEx gemm;
};

const Library& library() {
  static const Library found = [] {
    void* file = nullptr;
    for (const char* name : {"libcublas.so.13", "libcublas.so.12"}) {
      if (!file) file = dlopen(name, RTLD_NOW | RTLD_LOCAL);
    }
    if (!file) {
      throw std::runtime_error(
          "cuBLAS was not found (libcublas.so.13 or .12): import a CUDA build of torch first, or "
          "put the folder of the nvidia-cublas package on LD_LIBRARY_PATH");
    }
    const auto symbol = [file](const char* name) {
      void* address = dlsym(file, name);
      if (!address) throw std::runtime_error(std::string("cuBLAS has no ") + name);
      return address;
    };
    return Library{reinterpret_cast<Create>(symbol("cublasCreate_v2")),
                   reinterpret_cast<Destroy>(symbol("cublasDestroy_v2")),
                   reinterpret_cast<SetStream>(symbol("cublasSetStream_v2")),
                   reinterpret_cast<SetMathMode>(symbol("cublasSetMathMode")),
                   reinterpret_cast<GemmEx>(symbol("cublasGemmEx"))};
  }();
  return found;
}

void check(int status, const char* call) {
  if (status != 0) {
    throw std::runtime_error(std::string(call) + " failed with status " + std::to_string(status));
  }
}

}  // namespace

Blas::Blas(void* stream) {
  const Library& blas = library();
  check(blas.create(&handle_), "cublasCreate");
  check(blas.set_stream(handle_, stream), "cublasSetStream");
  check(blas.set_math_mode(handle_, kDefaultMath), "cublasSetMathMode");
}

Blas::~Blas() {
  if (handle_) library().destroy(handle_);
}

void Blas::product(const Product& product) {
  const ColumnMajor p = column_major(product);
  const bool wide = product.type == Type::kFloat64;
  const int in = wide ? kFloat64 : product.type == Type::kFloat32 ? kFloat32 : kBfloat16;
  const int out = wide ? kFloat64 : kFloat32;
  const double beta64 = product.beta, alpha64 = 1.0;
  const auto beta32 = static_cast<float>(product.beta);
  const float alpha32 = 1.0F;
  const void* alpha = wide ? static_cast<const void*>(&alpha64) : &alpha32;
  const void* beta = wide ? static_cast<const void*>(&beta64) : &beta32;
  check(library().gemm(handle_, p.transpose_left, p.transpose_right, p.rows, p.columns, p.terms,
                       alpha, p.left, in, p.stride_left, p.right, in, p.stride_right, beta,
                       product.C, out, p.stride_out, wide ? kIn64 : kIn32, kDefaultAlgorithm),
        "cublasGemmEx");
}

}  // namespace dprune::cuda
