// What the two pybind11 modules share: checks of arrays, and the way from Python's arguments to a
// solver and back.
#pragma once

#include <pybind11/functional.h>
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <algorithm>
#include <limits>
#include <optional>
#include <stdexcept>
#include <string>

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

// make_engine(problem) gives the FixedSizeSolver. Eq. 4 when m is given, else Eq. 3 with eps.
template <class MakeEngine>
py::dict solve_problem(const Rows& rows, const Array<double>& mean,
                       const Array<double>& squared_norms, double reweight,
                       const Array<Index>& labels, const Array<Index>& floors, bool proportional,
                       const Array<std::uint8_t>& protect, std::optional<Index> m, Index ceiling,
                       double eps, const Effort& effort, const std::optional<Callback>& callback,
                       const MakeEngine& make_engine) {
  const Index n = rows.size();
  const double* mean_data = vector_of(mean, rows.width(), "mean");
  const double* norms_data = vector_of(squared_norms, n, "squared_norms");
  const Index* label_data = vector_of(labels, n, "labels");
  const std::uint8_t* protect_data = vector_of(protect, n, "protect");
  const Problem problem{rows,
                        {mean_data, mean_data + rows.width()},
                        {norms_data, norms_data + n},
                        reweight,
                        Quotas({label_data, label_data + n},
                               {floors.data(), floors.data() + floors.size()}, proportional),
                        {protect_data, protect_data + n}};
  Monitor monitor(effort.seconds, m ? std::numeric_limits<double>::infinity() : eps,
                  python_hook(callback));
  Solution solution;
  {
    const py::gil_scoped_release release;
    const auto engine = make_engine(problem);
    solution = m ? engine->solve(*m, {}, effort, 0.0, monitor)
                 : solve_budget(problem, eps, ceiling, *engine, effort, monitor);
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

}  // namespace dprune
