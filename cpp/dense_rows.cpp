#include "dense_rows.h"

#include <vector>

#include "kernels.h"
#include "parallel.h"
#include "products.h"

namespace dprune {
namespace {

template <class T>
std::vector<const T*> pointers(MatrixView<const T> S, const Index* block, Index count) {
  std::vector<const T*> rows(static_cast<std::size_t>(count));
  for (Index a = 0; a < count; ++a) rows[a] = S.row(block[a]);
  return rows;
}

}  // namespace

template <class T>
void DenseRows<T>::gram(const Index* block, Index count, float* K) const {
  symmetric_products(pointers(S_, block, count).data(), count, S_.cols, K);
}

template <class T>
void DenseRows<T>::dots(const Index* block, Index count, const float* u, float* r) const {
  for (Index a = 0; a < count; ++a) r[a] = dot(S_.row(block[a]), u, S_.cols);
}

template <class T>
void DenseRows<T>::add(const Index* block, const float* signs, Index count, float* u) const {
  add_rows(pointers(S_, block, count).data(), signs, count, u, S_.cols);
}

template <class T>
void DenseRows<T>::add_groups(const Index* labels, MatrixView<double> sums, int threads) const {
  dprune::add_groups(S_, labels, sums, threads);
}

template <class T>
void DenseRows<T>::squared_norms(double* q, int threads) const {
  dprune::squared_norms(S_, q, threads);
}

template <class T>
void add_groups(MatrixView<const T> S, const Index* labels, MatrixView<double> sums, int threads) {
  // Columns are shared out, not rows: each sum then runs in row order whatever the thread count.
  parallel_ranges(S.cols, threads, [&](Index begin, Index end) {
    for (Index i = 0; i < S.rows; ++i) {
      if (labels[i] >= 0) axpy(1.0, S.row(i) + begin, sums.row(labels[i]) + begin, end - begin);
    }
  });
}

template <class T>
void squared_norms(MatrixView<const T> S, double* q, int threads) {
  parallel_ranges(S.rows, threads, [&](Index begin, Index end) {
    for (Index i = begin; i < end; ++i) q[i] = squared_norm(S.row(i), S.cols);
  });
}

template class DenseRows<float>;
template class DenseRows<Half>;
template class DenseRows<BFloat16>;
template void add_groups(MatrixView<const BFloat16>, const Index*, MatrixView<double>, int);
template void add_groups(MatrixView<const Half>, const Index*, MatrixView<double>, int);
template void add_groups(MatrixView<const float>, const Index*, MatrixView<double>, int);
template void add_groups(MatrixView<const double>, const Index*, MatrixView<double>, int);
template void squared_norms(MatrixView<const BFloat16>, double*, int);
template void squared_norms(MatrixView<const Half>, double*, int);
template void squared_norms(MatrixView<const float>, double*, int);
template void squared_norms(MatrixView<const double>, double*, int);

}  // namespace dprune
