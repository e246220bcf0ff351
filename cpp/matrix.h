// Views of row-major matrices. They own nothing.
#pragma once

#include <cstdint>

namespace dprune {

using Index = std::int64_t;

template <class T>
struct MatrixView {
  T* data;
  Index rows;
  Index cols;

  T* row(Index i) const { return data + i * cols; }
};

}  // namespace dprune
