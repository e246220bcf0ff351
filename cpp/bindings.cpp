// dprune._core: the only pybind11 file of the core. Check, release the GIL, call, wrap.
#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "anneal.h"
#include "block_anneal.h"
#include "budget.h"
#include "coarse_rows.h"
#include "dense_rows.h"
#include "factored_rows.h"
#include "gradients.h"
#include "mapped_rows.h"
#include "parallel.h"
#include "problem.h"
#include "quotas.h"
#include "scaled_rows.h"
#include "solve_binding.h"

namespace py = pybind11;

namespace dprune {
namespace {

template <class T>
MatrixView<const T> matrix(const Array<T>& array, const char* name) {
  require(array.ndim() == 2,
          std::string(name) + " must have 2 dimensions, found " + std::to_string(array.ndim()));
  return {array.data(), array.shape(0), array.shape(1)};
}

const Index* class_labels(const Array<Index>& labels, Index size, Index classes) {
  const Index* begin = vector_of(labels, size, "labels");
  const Index* bad =
      std::find_if(begin, begin + size, [&](Index y) { return y < 0 || y >= classes; });
  require(bad == begin + size, "labels must lie in 0.." + std::to_string(classes - 1) +
                                   ", found another value in row " + std::to_string(bad - begin));
  return begin;
}

// ---- gradients ------------------------------------------------------------------------------

template <class T>
Array<T> softmax_errors_py(const Array<T>& logits, const Array<Index>& labels) {
  const auto z = matrix(logits, "logits");
  const Index* y = class_labels(labels, z.rows, z.cols);
  Array<T> errors({z.rows, z.cols});
  const MatrixView<T> e{errors.mutable_data(), z.rows, z.cols};
  {
    const py::gil_scoped_release release;
    softmax_errors(z, y, e);
  }
  return errors;
}

template <class T>
Array<T> last_layer_gradients_py(const Array<T>& features, const Array<T>& probabilities,
                                 const Array<Index>& labels, const std::optional<Array<T>>& out) {
  const auto h = matrix(features, "features");
  const auto p = matrix(probabilities, "probabilities");
  require(p.rows == h.rows, "probabilities must have as many rows as features, " +
                                std::to_string(h.rows) + ", found " + std::to_string(p.rows));
  const Index* y = class_labels(labels, h.rows, p.cols);
  const Index width = p.cols * (h.cols + 1);
  if (out) {
    require(out->ndim() == 2 && out->shape(0) == h.rows && out->shape(1) == width,
            "out must have shape (" + std::to_string(h.rows) + ", " + std::to_string(width) + ")");
  }
  Array<T> gradients = out ? *out : Array<T>({h.rows, width});
  const MatrixView<T> g{gradients.mutable_data(), h.rows, width};
  {
    const py::gil_scoped_release release;
    last_layer_gradients(h, p, y, g, hardware_threads());
  }
  return gradients;
}

template <class T>
void softmax_curvature_py(const Array<T>& probabilities, const std::optional<Array<T>>& weights,
                          Array<T>& values, int threads) {
  const auto p = matrix(probabilities, "probabilities");
  const T* w = weights ? vector_of(*weights, p.rows, "weights") : nullptr;
  require(values.ndim() == 2 && values.shape(0) == p.rows && values.shape(1) % p.cols == 0,
          "values must have the rows of probabilities and a multiple of their columns");
  const MatrixView<T> z{values.mutable_data(), p.rows, values.shape(1)};
  const py::gil_scoped_release release;
  softmax_curvature(p, w, z, threads);
}

// ---- float64 passes over a block of rows ----------------------------------------------------

template <class T>
void add_groups_py(const Array<T>& block, const Array<Index>& labels, Array<double>& sums,
                   int threads) {
  const auto S = matrix(block, "block");
  const Index* group = vector_of(labels, S.rows, "labels");
  require(sums.ndim() == 2 && sums.shape(1) == S.cols, "sums must have the width of the block");
  const MatrixView<double> total{sums.mutable_data(), sums.shape(0), S.cols};
  require(S.rows == 0 || *std::max_element(group, group + S.rows) < total.rows,
          "labels must name a row of sums");
  const py::gil_scoped_release release;
  add_groups(S, group, total, threads);
}

template <class T>
Array<double> squared_norms_py(const Array<T>& block, int threads) {
  const auto S = matrix(block, "block");
  Array<double> norms(S.rows);
  double* q = norms.mutable_data();
  {
    const py::gil_scoped_release release;
    squared_norms(S, q, threads);
  }
  return norms;
}

// ---- row stores -----------------------------------------------------------------------------

void add_row_groups(const Rows& rows, const Array<Index>& labels, Array<double>& sums,
                    int threads) {
  const Index* group = vector_of(labels, rows.size(), "labels");
  require(sums.ndim() == 2 && sums.shape(1) == rows.width(),
          "sums must have the width of the rows");
  const MatrixView<double> total{sums.mutable_data(), sums.shape(0), rows.width()};
  require(*std::max_element(group, group + rows.size()) < total.rows,
          "labels must name a row of sums");
  const py::gil_scoped_release release;
  rows.add_groups(group, total, threads);
}

Array<double> squared_row_norms(const Rows& rows, int threads) {
  Array<double> norms(rows.size());
  double* q = norms.mutable_data();
  {
    const py::gil_scoped_release release;
    rows.squared_norms(q, threads);
  }
  return norms;
}

const Index* block_of(const Array<Index>& block, const Rows& rows) {
  const Index* begin = vector_of(block, block.size(), "block");
  require(
      std::all_of(begin, begin + block.size(), [&](Index i) { return i >= 0 && i < rows.size(); }),
      "block must name rows in 0.." + std::to_string(rows.size() - 1));
  return begin;
}

Array<float> row_gram(const Rows& rows, const Array<Index>& block) {
  const Index* first = block_of(block, rows);
  Array<float> K({block.size(), block.size()});
  float* out = K.mutable_data();
  {
    const py::gil_scoped_release release;
    rows.gram(first, block.size(), out);
  }
  return K;
}

// As a cold walk reads the rows.
Array<float> coarse_dots_py(const Rows& rows, const Array<Index>& block, const Array<float>& u) {
  const Index* first = block_of(block, rows);
  const float* vector = vector_of(u, rows.width(), "u");
  Array<float> r(block.size());
  float* out = r.mutable_data();
  {
    const py::gil_scoped_release release;
    CoarseRows coarse(rows, block.size());
    coarse.fill(0, first, block.size());
    CoarseRows::Rounded rounded;
    coarse.round(vector, rounded);
    coarse.dots(0, block.size(), rounded, out);
  }
  return r;
}

Array<float> row_dots(const Rows& rows, const Array<Index>& block, const Array<float>& u) {
  const Index* first = block_of(block, rows);
  const float* vector = vector_of(u, rows.width(), "u");
  Array<float> r(block.size());
  float* out = r.mutable_data();
  {
    const py::gil_scoped_release release;
    rows.dots(first, block.size(), vector, out);
  }
  return r;
}

void add_rows_py(const Rows& rows, const Array<Index>& block, const Array<float>& signs,
                 Array<float>& u) {
  const Index* first = block_of(block, rows);
  const float* weights = vector_of(signs, block.size(), "signs");
  vector_of(u, rows.width(), "u");
  float* sum = u.mutable_data();
  const py::gil_scoped_release release;
  rows.add(first, weights, block.size(), sum);
}

// Number is what NumPy calls the matrix' entries, T what they are.
template <class T, class Number>
void dense_rows(py::module_& m, const char* name, const char* doc) {
  py::class_<DenseRows<T>, Rows>(m, name, doc)
      .def(py::init([](const Array<Number>& S, bool mapped) -> std::unique_ptr<DenseRows<T>> {
             const MatrixView<const Number> given = matrix(S, "S");
             const MatrixView<const T> rows{reinterpret_cast<const T*>(given.data), given.rows,
                                            given.cols};
             if (mapped) return std::make_unique<MappedRows<T>>(rows);
             return std::make_unique<DenseRows<T>>(rows);
           }),
           py::arg("S").noconvert(), py::arg("mapped") = false, py::keep_alive<1, 2>());
}

// ---- the solvers ------------------------------------------------------------------------------

std::vector<std::int64_t> removed_counts(const Array<Index>& labels, const Array<Index>& floors,
                                         bool proportional, Index m) {
  const Quotas quotas({labels.data(), labels.data() + labels.size()},
                      {floors.data(), floors.data() + floors.size()}, proportional);
  return quotas.bounds(m).hi;
}

std::unique_ptr<FixedSizeSolver> make_solver(const std::string& name, const Problem& problem,
                                             const Problem& metric, std::uint64_t seed, int threads,
                                             double seconds) {
  if (name == "anneal") return std::make_unique<Annealer>(problem, seed);
  if (name == "block") {
    return std::make_unique<BlockAnnealer>(problem, metric, seed, threads, seconds);
  }
  throw std::invalid_argument("unknown solver " + name);
}

}  // namespace
}  // namespace dprune

PYBIND11_MODULE(_core, m) {
  using namespace dprune;
  using namespace pybind11::literals;
  m.doc() = "The compiled core of dprune. Users call the functions of the dprune package.";

  m.def("softmax_errors", &softmax_errors_py<float>, "logits"_a.noconvert(),
        "labels"_a.noconvert());
  m.def("softmax_errors", &softmax_errors_py<double>, "logits"_a.noconvert(),
        "labels"_a.noconvert(), "softmax(logits) - onehot(labels), row by row.");
  m.def("last_layer_gradients", &last_layer_gradients_py<float>, "features"_a.noconvert(),
        "probabilities"_a.noconvert(), "labels"_a.noconvert(), "out"_a.noconvert() = py::none());
  m.def("last_layer_gradients", &last_layer_gradients_py<double>, "features"_a.noconvert(),
        "probabilities"_a.noconvert(), "labels"_a.noconvert(), "out"_a.noconvert() = py::none(),
        "(probabilities - onehot(labels)) (x) [features, 1], row by row.");
  m.def("softmax_curvature", &softmax_curvature_py<float>, "probabilities"_a.noconvert(),
        "weights"_a.noconvert(), "values"_a.noconvert(), "threads"_a);
  m.def("softmax_curvature", &softmax_curvature_py<double>, "probabilities"_a.noconvert(),
        "weights"_a.noconvert(), "values"_a.noconvert(), "threads"_a,
        "values <- w (diag p - p p^T) values, in place, for vectors of C logits side by side.");

  m.def("add_groups", &add_groups_py<float>, "block"_a.noconvert(), "labels"_a.noconvert(),
        "sums"_a.noconvert(), "threads"_a);
  m.def("add_groups", &add_groups_py<double>, "block"_a.noconvert(), "labels"_a.noconvert(),
        "sums"_a.noconvert(), "threads"_a,
        "sums[labels[i]] += block[i] in float64, for labels[i] >= 0.");
  m.def("squared_norms", &squared_norms_py<float>, "block"_a.noconvert(), "threads"_a);
  m.def("squared_norms", &squared_norms_py<double>, "block"_a.noconvert(), "threads"_a,
        "Squared norms of the rows, in float64.");

  py::class_<Rows>(m, "Rows", "A row store: what the solvers ask of the matrix S.")
      .def_property_readonly(
          "shape", [](const Rows& rows) { return py::make_tuple(rows.size(), rows.width()); })
      .def("add_groups", &add_row_groups, "labels"_a.noconvert(), "sums"_a.noconvert(), "threads"_a,
           "sums[labels[i]] += S_i in float64, for labels[i] >= 0.")
      .def("squared_norms", &squared_row_norms, "threads"_a,
           "Squared norms of the rows, in float64.")
      .def("gram", &row_gram, "block"_a.noconvert(), "Inner products of these rows, float32.")
      .def("dots", &row_dots, "block"_a.noconvert(), "u"_a.noconvert(),
           "Inner products of these rows with u, float32.")
      .def("coarse_dots", &coarse_dots_py, "block"_a.noconvert(), "u"_a.noconvert(),
           "The same with the rows in eight bits.")
      .def("add", &add_rows_py, "block"_a.noconvert(), "signs"_a.noconvert(), "u"_a.noconvert(),
           "u += sum_a signs[a] S_i, i = block[a].");
  dense_rows<float, float>(m, "DenseRows", "Rows of a float32 matrix, not copied.");
  dense_rows<Half, std::uint16_t>(m, "HalfRows", "Rows of a float16 matrix, given as its bits.");
  dense_rows<BFloat16, std::uint16_t>(m, "BFloat16Rows",
                                      "Rows of a bfloat16 matrix, given as its bits.");
  py::class_<FactoredRows, Rows>(m, "FactoredRows", "Rows b_i (x) a_i, held as their factors.")
      .def(py::init([](const Array<float>& b, const Array<float>& a) {
             return std::make_unique<FactoredRows>(matrix(b, "b"), matrix(a, "a"));
           }),
           "b"_a.noconvert(), "a"_a.noconvert(), py::keep_alive<1, 2>(), py::keep_alive<1, 3>());

  py::class_<ScaledRows, Rows>(m, "ScaledRows", "The rows of another store, columns scaled.")
      .def(py::init([](const Rows& rows, const Array<float>& scale) {
             const float* x = vector_of(scale, rows.width(), "scale");
             return std::make_unique<ScaledRows>(rows, std::vector<float>(x, x + rows.width()));
           }),
           "rows"_a, "scale"_a.noconvert(), py::keep_alive<1, 2>());

  m.def("removed_counts", &removed_counts, "labels"_a.noconvert(), "floors"_a.noconvert(),
        "proportional"_a, "m"_a,
        "Most samples removed from each group when m are removed in all; with proportional "
        "quotas the exact number.");
  solver_class(m).def(
      py::init([](const Rows& rows, const Array<double>& mean, const Array<double>& squared_norms,
                  std::optional<const Rows*> metric,
                  const std::optional<Array<double>>& metric_mean, double reweight,
                  const Array<Index>& labels, const Array<Index>& floors, bool proportional,
                  const Array<std::uint8_t>& protect, const std::string& solver, std::uint64_t seed,
                  int threads, double seconds) {
        return std::make_unique<Solver>(
            problem_of(rows, mean, squared_norms, reweight, labels, floors, proportional, protect),
            metric.value_or(nullptr), metric_mean, threads,
            [&](const Problem& problem, const Problem& walked) {
              return make_solver(solver, problem, walked, seed, threads, seconds);
            });
      }),
      "rows"_a, "mean"_a.noconvert(), "squared_norms"_a.noconvert(), "metric"_a,
      "metric_mean"_a.noconvert(), "reweight"_a, "labels"_a.noconvert(), "floors"_a.noconvert(),
      "proportional"_a, "protect"_a.noconvert(), "solver"_a, "seed"_a, "threads"_a, "seconds"_a,
      py::keep_alive<1, 2>(), py::keep_alive<1, 5>());
  m.def("hardware_threads", &hardware_threads, "Threads this machine runs at once.");
}
