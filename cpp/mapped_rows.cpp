#include "mapped_rows.h"

#include <algorithm>

#if __has_include(<sys/mman.h>)
#include <sys/mman.h>
#include <unistd.h>
#endif

namespace dprune {
namespace {

// What a pass over all rows asks for at once.
constexpr Index kPartBytes = Index{1} << 26;

// Starts reading a range of a mapped file and does not wait. Without effect on other memory.
void read_ahead(const void* data, std::size_t bytes) {
#if __has_include(<sys/mman.h>)
  static const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  const std::size_t before = reinterpret_cast<std::uintptr_t>(data) % page;
  // Only advice: where it fails, pages come when they are touched.
  posix_madvise(const_cast<char*>(static_cast<const char*>(data)) - before, bytes + before,
                POSIX_MADV_WILLNEED);
#else
  static_cast<void>(data);
  static_cast<void>(bytes);
#endif
}

}  // namespace

template <class T>
void MappedRows<T>::fetch(Index first, Index last) const {
  read_ahead(this->S_.row(first),
             static_cast<std::size_t>((last - first) * this->S_.cols) * sizeof(T));
}

template <class T>
void MappedRows<T>::prefetch(const Index* block, Index count) const {
  for (Index a = 0; a < count;) {
    Index b = a + 1;
    while (b < count && block[b] == block[b - 1] + 1) ++b;
    fetch(block[a], block[b - 1] + 1);
    a = b;
  }
}

template <class T>
template <class Work>
void MappedRows<T>::in_parts(const Work& work) const {
  const MatrixView<const T>& S = this->S_;
  const Index rows = std::max<Index>(1, kPartBytes / (S.cols * static_cast<Index>(sizeof(T))));
  fetch(0, std::min(rows, S.rows));
  for (Index first = 0; first < S.rows; first += rows) {
    const Index last = std::min(first + rows, S.rows);
    if (last < S.rows) fetch(last, std::min(last + rows, S.rows));
    work(MatrixView<const T>{S.row(first), last - first, S.cols}, first);
  }
}

template <class T>
void MappedRows<T>::add_groups(const Index* labels, MatrixView<double> sums, int threads) const {
  in_parts([&](MatrixView<const T> part, Index first) {
    dprune::add_groups(part, labels + first, sums, threads);
  });
}

template <class T>
void MappedRows<T>::squared_norms(double* q, int threads) const {
  in_parts([&](MatrixView<const T> part, Index first) {
    dprune::squared_norms(part, q + first, threads);
  });
}

template class MappedRows<float>;
template class MappedRows<Half>;
template class MappedRows<BFloat16>;

}  // namespace dprune
