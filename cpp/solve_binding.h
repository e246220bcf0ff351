// What the two pybind11 modules share: checks of arrays, and the way from Python's arguments to a
// solver and back.
#pragma once

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
#include <utility>
#include <vector>

#include "budget.h"
#include "problem.h"

namespace dprune {

namespace py = pybind11;

// C-contiguous and of exactly this type: with noconvert() nothing is copied or cast in silence.
template <class T>
using Array = py::array_t<T, py::array::c_style>;

inline void require(bool condition, const std::string& message) {
  if (!condition) throw std::invalid_argument(message);
}

template <class T>
const T* vector_of(const Array<T>& array, Index size, const char* name) {
  require(array.ndim() == 1 && array.shape(0) == size,
          std::string(name) + " must be a vector of " + std::to_string(size) + " entries");
  return array.data();
}

using Callback = std::function<bool(double, std::int64_t, double, Index)>;

// Ctrl-C raises; a callback's exception surfaces; its true ends the search.
inline Monitor::Hook python_hook(const std::optional<Callback>& callback) {
  return [&callback](const TracePoint& point) {
    const py::gil_scoped_acquire acquire;
    if (PyErr_CheckSignals() != 0) throw py::error_already_set();
    return callback && (*callback)(point.seconds, point.sweep, point.norm, point.removed);
  };
}

inline const char* name_of(Status status) {
  switch (status) {
    case Status::kTimeLimit:
      return "time_limit";
    case Status::kStopped:
      return "stopped";
    default:
      return "converged";
  }
}

template <class T>
std::vector<T> copied(const Array<T>& array, Index size, const char* name) {
  const T* begin = vector_of(array, size, name);
  return {begin, begin + size};
}

inline Problem problem_of(const Rows& rows, const Array<double>& mean,
                          const Array<double>& squared_norms, double reweight,
                          const Array<Index>& labels, const Array<Index>& floors, bool proportional,
                          const Array<std::uint8_t>& protect) {
  return {rows,
          copied(mean, rows.width(), "mean"),
          copied(squared_norms, rows.size(), "squared_norms"),
          reweight,
          Quotas(copied(labels, rows.size(), "labels"), copied(floors, floors.size(), "floors"),
                 proportional),
          copied(protect, rows.size(), "protect")};
}

// The same problem with its rows in another metric, if there is one.
inline std::optional<Problem> in_metric(const Problem& problem, const Rows* metric,
                                        const std::optional<Array<double>>& mean, int threads) {
  if (metric == nullptr) return std::nullopt;
  const Rows& rows = *metric;
  const Index n = rows.size();
  require(n == problem.size(), "metric must have as many rows as rows");
  if (!mean) throw std::invalid_argument("metric_mean must be given with metric");
  Problem other{rows,
                copied(*mean, rows.width(), "metric_mean"),
                std::vector<double>(static_cast<std::size_t>(n)),
                problem.reweight,
                problem.quotas,
                problem.protect};
  rows.squared_norms(other.squared_norms.data(), threads);
  return other;
}

// A problem and the solver that works on it, for one search or several: what it knows of the rows
// stays from one to the next.
class Solver {
 public:
  // make_engine(problem, walked) gives the FixedSizeSolver; walked is the problem in the metric, or
  // the problem itself.
  template <class MakeEngine>
  Solver(Problem problem, const Rows* metric, const std::optional<Array<double>>& metric_mean,
         int threads, const MakeEngine& make_engine)
      : problem_(std::move(problem)),
        metric_(in_metric(problem_, metric, metric_mean, threads)),
        engine_(make_engine(problem_, metric_ ? *metric_ : problem_)) {}

  py::dict solve(std::optional<Index> m, Index ceiling, double eps, std::int64_t sweeps,
                 double time_limit, const std::optional<Array<std::uint8_t>>& start,
                 const std::optional<Callback>& callback) {
    const Index n = problem_.size();
    const Mask first = start ? copied(*start, n, "start") : Mask{};
    Monitor monitor(time_limit, m ? std::numeric_limits<double>::infinity() : eps,
                    python_hook(callback));
    Solution solution;
    {
      const py::gil_scoped_release release;
      const Effort effort{sweeps, time_limit};
      solution = m ? engine_->solve(*m, first, effort, 0.0, monitor)
                   : solve_budget(problem_, eps, ceiling, *engine_, effort, monitor);
    }
    Array<std::uint8_t> mask(n);
    std::copy(solution.mask.begin(), solution.mask.end(), mask.mutable_data());
    py::list trace;
    for (const TracePoint& point : monitor.trace()) {
      trace.append(py::make_tuple(point.seconds, point.sweep, point.norm, point.removed));
    }
    py::dict result;
    result["mask"] = mask;
    result["status"] = name_of(monitor.status());
    result["sweeps"] = monitor.sweeps();
    result["trace"] = trace;
    return result;
  }

 private:
  Problem problem_;
  std::optional<Problem> metric_;
  std::unique_ptr<FixedSizeSolver> engine_;
};

// Solver for Python but for its constructor. Local to the module: there are two of them.
inline py::class_<Solver> solver_class(py::module_& m) {
  using namespace pybind11::literals;
  py::class_<Solver> solver(m, "Solver", "A problem and the solver that works on it.",
                            py::module_local());
  solver.def("solve", &Solver::solve, "m"_a, "ceiling"_a, "eps"_a, "sweeps"_a, "time_limit"_a,
             "start"_a.noconvert() = py::none(), "callback"_a = py::none(),
             "Eq. 4 when m is given, from the mask `start`, else Eq. 3 with eps.");
  return solver;
}

}  // namespace dprune
