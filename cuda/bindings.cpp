// dprune._cuda: the pybind11 file of the CUDA module. Check, release the GIL, call, wrap.
//
// Memory of a machine crosses as addresses: those of torch tensors, or of Memory below. Whoever
// passes one keeps it alive.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "block_anneal.h"
#include "dense_rows.h"
#include "device.h"
#include "device_machine.h"
#include "factored_rows.h"
#include "gradients.h"
#include "host_machine.h"
#include "resample.h"
#include "scaled_rows.h"
#include "solve_binding.h"
#include "walk.h"

namespace dprune::cuda {
namespace {

using Address = std::uintptr_t;

template <class T>
T* at(Address address) {
  return reinterpret_cast<T*>(address);  // NOLINT(performance-no-int-to-ptr)
}

Type type_of(const std::string& dtype) {
  if (dtype == "float32") return Type::kFloat32;
  if (dtype == "float64") return Type::kFloat64;
  if (dtype == "bfloat16") return Type::kBfloat16;
  throw std::invalid_argument("dtype must be float32, float64 or bfloat16, found " + dtype);
}

Type element_type(const std::string& dtype) {
  require(dtype != "float64", "dtype must be float32 or bfloat16, found float64");
  return type_of(dtype);
}

// ---- memory and rows --------------------------------------------------------------------------

// An array in a machine's memory.
class Memory {
 public:
  Memory(Machine& machine, const py::buffer& array) : bytes_(machine, "a copy of an array") {
    const py::buffer_info info = array.request();
    require(PyBuffer_IsContiguous(info.view(), 'C') != 0, "the array must be C-contiguous");
    const auto* data = static_cast<const unsigned char*>(info.ptr);
    const Index size = info.size * info.itemsize;
    const py::gil_scoped_release release;
    bytes_.write(data, size);
  }
  void read(const py::buffer& array) const {
    const py::buffer_info info = array.request(true);
    require(
        PyBuffer_IsContiguous(info.view(), 'C') != 0 && info.size * info.itemsize == bytes_.size(),
        "the array must be C-contiguous and of " + std::to_string(bytes_.size()) + " bytes");
    bytes_.read(static_cast<unsigned char*>(info.ptr), bytes_.size());
  }
  Address address() const { return reinterpret_cast<Address>(bytes_.data()); }

 private:
  Buffer<unsigned char> bytes_;
};

// threads: the device has its own.
Array<double> squared_norms(const ChainRows& rows, int /*threads*/) {
  Array<double> norms(rows.size());
  double* q = norms.mutable_data();
  const py::gil_scoped_release release;
  rows.squared_norms(q, 1);
  return norms;
}

void add_groups(const ChainRows& rows, const Array<Index>& labels, Array<double>& sums,
                int /*threads*/) {
  const Index* group = vector_of(labels, rows.size(), "labels");
  require(sums.ndim() == 2 && sums.shape(1) == rows.width(),
          "sums must have the width of the rows");
  const MatrixView<double> total{sums.mutable_data(), sums.shape(0), rows.width()};
  require(*std::max_element(group, group + rows.size()) < total.rows,
          "labels must name a row of sums");
  const py::gil_scoped_release release;
  rows.add_groups(group, total, 1);
}

Array<double> dots(const ChainRows& rows, const Array<double>& v) {
  const double* data = vector_of(v, rows.width(), "v");
  Array<double> found(rows.size());
  double* out = found.mutable_data();
  const py::gil_scoped_release release;
  rows.dots(data, out);
  return found;
}

Array<double> weighted_sum(const ChainRows& rows, const Array<double>& weights) {
  const double* w = vector_of(weights, rows.size(), "weights");
  Array<double> sum(rows.width());
  double* out = sum.mutable_data();
  const py::gil_scoped_release release;
  rows.weighted_sum(w, out);
  return sum;
}

Array<double> square_columns(const ChainRows& rows) {
  Array<double> sum(rows.width());
  double* out = sum.mutable_data();
  const py::gil_scoped_release release;
  rows.square_columns(out);
  return sum;
}

Array<std::uint64_t> hashes(const ChainRows& rows) {
  Array<std::uint64_t> found(rows.size());
  std::uint64_t* out = found.mutable_data();
  const py::gil_scoped_release release;
  rows.hashes(out);
  return found;
}

Array<float> gram(const ChainRows& rows, const Array<Index>& block) {
  const Index count = block.size();
  Array<float> K({count, count});
  const Index* indices = block.data();
  float* out = K.mutable_data();
  const py::gil_scoped_release release;
  rows.gram(indices, count, out);
  return K;
}

Array<float> block_dots(const ChainRows& rows, const Array<Index>& block, const Array<float>& U) {
  require(U.ndim() == 2 && U.shape(1) == rows.width(), "U must have the width of the rows");
  const Index count = block.size();
  const Index chains = U.shape(0);
  Array<float> R({chains, count});
  const Index* indices = block.data();
  const float* sums = U.data();
  float* out = R.mutable_data();
  const py::gil_scoped_release release;
  rows.dots_of_chains(indices, count, sums, chains, out);
  return R;
}

void block_add(const ChainRows& rows, const Array<Index>& block, const Array<float>& signs,
               Array<float>& U) {
  const Index count = block.size();
  const Index chains = signs.shape(0);
  require(signs.ndim() == 2 && signs.shape(1) == count && U.ndim() == 2 && U.shape(0) == chains &&
              U.shape(1) == rows.width(),
          "signs must be chains x rows of the block, U chains x N");
  const Index* indices = block.data();
  const float* data = signs.data();
  float* sums = U.mutable_data();
  const py::gil_scoped_release release;
  rows.add_of_chains(indices, count, data, chains, sums);
}

// ---- the solver -------------------------------------------------------------------------------

// One visit of chains to a block, everything in host memory: what the tests look into. Arrays are
// changed in place; the net flips are returned.
Array<float> walk(Machine& machine, const Array<float>& K, const Array<float>& dots,
                  Array<std::uint8_t>& mask, const Array<Index>& labels, const Array<Index>& caps,
                  bool proportional, Array<double>& mu, Array<Index>& excess, Array<Index>& counts,
                  Array<Index>& violation, Array<double>& energy, double temperature, double kappa,
                  int passes, Index enough, std::uint64_t draw) {
  const Index chains = dots.shape(0);
  const Index size = dots.shape(1);
  const Index stride = ceil_div(size, 8) * 8;
  require(mask.ndim() == 2 && mask.shape(0) == chains && mask.shape(1) == stride,
          "mask must be chains x rows, padded to whole words");
  Buffer<float> square(machine, "K"), products(machine, "dots"), flips(machine, "flips");
  Buffer<std::uint8_t> masks(machine, "masks"), best(machine, "masks");
  Buffer<Index> rows(machine, "rows"), groups(machine, "labels"), most(machine, "caps");
  Buffer<Index> excesses(machine, "excess"), removed(machine, "counts");
  Buffer<Index> violations(machine, "violation"), accepted(machine, "accepted");
  Buffer<double> multipliers(machine, "mu"), energies(machine, "energy"), least(machine, "best");
  std::vector<Index> order(static_cast<std::size_t>(size));
  for (Index a = 0; a < size; ++a) order[a] = a;
  Chains state{};
  state.count = chains;
  state.n = size;
  state.stride = stride;
  state.strata = mu.shape(1);
  state.groups = counts.shape(1);
  state.proportional = proportional;
  state.labels = groups.write(labels.data(), size);
  state.caps = most.write(caps.data(), caps.size());
  state.mask = masks.write(mask.data(), mask.size());
  state.mu = multipliers.write(mu.data(), mu.size());
  state.excess = excesses.write(excess.data(), excess.size());
  state.counts = removed.write(counts.data(), counts.size());
  state.violation = violations.write(violation.data(), chains);
  state.energy = energies.write(energy.data(), chains);
  state.accepted = accepted.zeros(chains);
  state.best = best.zeros(mask.size());
  state.best_energy = least.zeros(chains);
  machine.run(Walk{state, rows.write(order.data(), size), size, square.write(K.data(), size * size),
                   products.write(dots.data(), chains * size), flips.reserve(chains * size),
                   static_cast<float>(temperature), kappa, 1.0, passes, enough, draw});
  masks.read(mask.mutable_data(), mask.size());
  multipliers.read(mu.mutable_data(), mu.size());
  excesses.read(excess.mutable_data(), excess.size());
  removed.read(counts.mutable_data(), counts.size());
  violations.read(violation.mutable_data(), chains);
  energies.read(energy.mutable_data(), chains);
  Array<float> net({chains, size});
  flips.read(net.mutable_data(), chains * size);
  return net;
}

Array<float> exponentials(std::uint32_t key, Index count) {
  Array<float> e(count);
  for (Index lane = 0; lane < count; ++lane) {
    e.mutable_data()[lane] = exponential(key, static_cast<std::uint32_t>(lane));
  }
  return e;
}

// ---- gradients and influence rows -------------------------------------------------------------

void softmax_errors(Machine& machine, Address logits, Address labels, Address errors, Index n,
                    Index classes) {
  const py::gil_scoped_release release;
  machine.run(SoftmaxErrors{at<const float>(logits), at<const Index>(labels), at<float>(errors), n,
                            classes});
}

void outer_rows(Machine& machine, Address b, Address a, const std::string& dtype,
                std::optional<Address> labels, bool bias, Address out, const std::string& out_dtype,
                Index n, Index k, Index d) {
  const OuterRows op{at<const void>(b),
                     at<const void>(a),
                     element_type(dtype),
                     labels ? at<const Index>(*labels) : nullptr,
                     bias,
                     at<void>(out),
                     element_type(out_dtype),
                     n,
                     k,
                     d};
  const py::gil_scoped_release release;
  machine.run(op);
}

void softmax_curvature(Machine& machine, Address probabilities, std::optional<Address> weights,
                       Address values, const std::string& dtype, Index n, Index classes,
                       Index vectors) {
  const Type type = type_of(dtype);
  require(type != Type::kBfloat16, "dtype must be float32 or float64, found bfloat16");
  const py::gil_scoped_release release;
  if (type == Type::kFloat64) {
    machine.run(SoftmaxCurvatureDouble{{at<const double>(probabilities),
                                        weights ? at<const double>(*weights) : nullptr,
                                        at<double>(values), n, classes, vectors}});
  } else {
    machine.run(SoftmaxCurvature{{at<const float>(probabilities),
                                  weights ? at<const float>(*weights) : nullptr, at<float>(values),
                                  n, classes, vectors}});
  }
}

void product(Machine& machine, const std::string& dtype, bool transpose_a, bool transpose_b,
             Index m, Index n, Index k, Address A, Address B, Address C) {
  const py::gil_scoped_release release;
  machine.product({type_of(dtype), transpose_a, transpose_b, m, n, k, at<const void>(A),
                   transpose_a ? m : k, at<const void>(B), transpose_b ? k : n, at<void>(C), n,
                   0.0});
}

}  // namespace
}  // namespace dprune::cuda

PYBIND11_MODULE(_cuda, m) {
  using namespace dprune;
  using namespace dprune::cuda;
  using namespace pybind11::literals;
  namespace py = pybind11;
  m.doc() = "CUDA twin of dprune._core. Imports without a driver; devices() is then empty.";

  py::register_local_exception_translator([](std::exception_ptr error) {
    try {
      if (error) std::rethrow_exception(error);
    } catch (const OutOfMemory& problem) {
      PyErr_SetString(PyExc_MemoryError, problem.what());
    }
  });

  py::class_<Device>(m, "Device", "One CUDA device.")
      .def_readonly("name", &Device::name)
      .def_readonly("major", &Device::major)
      .def_readonly("minor", &Device::minor)
      .def_readonly("multiprocessors", &Device::multiprocessors)
      .def_readonly("memory_bytes", &Device::memory_bytes);

  m.def("devices", &devices, py::call_guard<py::gil_scoped_release>(),
        "The CUDA devices this process can use; empty without a driver or a device.");

  py::class_<Machine>(m, "Machine", "Where operations run.")
      .def("wait", &Machine::wait, py::call_guard<py::gil_scoped_release>(),
           "Until all that was issued is done.")
      .def_property_readonly("free_bytes", &Machine::free_bytes);
  py::class_<DeviceMachine, Machine>(m, "DeviceMachine", "A CUDA device and a stream.")
      .def(py::init([](int device, Address stream) {
             return std::make_unique<DeviceMachine>(device, at<void>(stream));
           }),
           "device"_a, "stream"_a = 0);
  py::class_<HostMachine, Machine>(
      m, "HostMachine", "The CPU in the place of a device: slow, for tests. Addresses are its own.")
      .def(py::init([](int lanes, std::optional<std::size_t> limit) {
             return std::make_unique<HostMachine>(lanes, limit.value_or(~std::size_t{0}));
           }),
           "lanes"_a = 1, "limit"_a = py::none())
      .def_property_readonly("lanes", &HostMachine::lanes)
      .def_property_readonly("held", &HostMachine::held, "Bytes handed out and not returned.");

  py::class_<Memory>(m, "Memory", "A copy of an array in a machine's memory.")
      .def(py::init<Machine&, const py::buffer&>(), "machine"_a, "array"_a, py::keep_alive<1, 2>())
      .def("read", &Memory::read, "array"_a, "Copies it back into an array.")
      .def_property_readonly("address", &Memory::address);

  py::class_<ChainRows>(m, "ChainRows", "Rows in a machine's memory, for many running sums.")
      .def_property_readonly(
          "shape", [](const ChainRows& rows) { return py::make_tuple(rows.size(), rows.width()); })
      .def("squared_norms", &squared_norms, "threads"_a = 1, "Of all rows, float64.")
      .def("add_groups", &cuda::add_groups, "labels"_a.noconvert(), "sums"_a.noconvert(),
           "threads"_a = 1, "sums[labels[i]] += S_i in float64, for labels[i] >= 0.")
      .def("dots", &cuda::dots, "v"_a.noconvert(), "Inner products of all rows with v, float64.")
      .def("weighted_sum", &weighted_sum, "weights"_a.noconvert(), "Sum of w_i S_i, float64.")
      .def("square_columns", &square_columns, "Sums of squares of the columns, float64.")
      .def("hashes", &cuda::hashes, "A hash of the bits of each row.")
      .def("gram", &cuda::gram, "block"_a.noconvert(), "Inner products within a block of rows.")
      .def("block_dots", &block_dots, "block"_a.noconvert(), "U"_a.noconvert(),
           "U S_b^T for the rows of a block and the running sums U of several chains.")
      .def("block_add", &block_add, "block"_a.noconvert(), "signs"_a.noconvert(), "U"_a.noconvert(),
           "U += signs S_b.");
  py::class_<DenseRows, ChainRows>(m, "DenseRows", "Rows of a dense float32 or bfloat16 matrix.")
      .def(
          py::init([](Machine& machine, Address S, Index n, Index width, const std::string& dtype) {
            return std::make_unique<DenseRows>(
                machine, Matrix{at<const void>(S), element_type(dtype), n, width});
          }),
          "machine"_a, "S"_a, "n"_a, "width"_a, "dtype"_a, py::keep_alive<1, 2>());
  py::class_<FactoredRows, ChainRows>(m, "FactoredRows", "Rows b_i (x) a_i, float32 factors.")
      .def(py::init([](Machine& machine, Address b, Address a, Index n, Index k, Index d) {
             return std::make_unique<FactoredRows>(machine,
                                                   Matrix{at<const void>(b), Type::kFloat32, n, k},
                                                   Matrix{at<const void>(a), Type::kFloat32, n, d});
           }),
           "machine"_a, "b"_a, "a"_a, "n"_a, "k"_a, "d"_a, py::keep_alive<1, 2>());

  py::class_<ScaledRows, ChainRows>(m, "ScaledRows", "The rows of a dense store, columns scaled.")
      .def(py::init([](const DenseRows& rows, const Array<float>& scale) {
             const float* x = vector_of(scale, rows.width(), "scale");
             return std::make_unique<ScaledRows>(rows, std::vector<float>(x, x + rows.width()));
           }),
           "rows"_a, "scale"_a.noconvert(), py::keep_alive<1, 2>());

  solver_class(m).def(
      py::init([](const ChainRows& rows, const Array<double>& mean,
                  const Array<double>& squared_norms, std::optional<const ChainRows*> metric,
                  const std::optional<Array<double>>& metric_mean, double reweight,
                  const Array<Index>& labels, const Array<Index>& floors, bool proportional,
                  const Array<std::uint8_t>& protect, const std::string& solver, std::uint64_t seed,
                  int threads, double /*seconds*/, Index chains) {
        require(solver == "block", "solver must be 'block' on a GPU, found '" + solver + "'");
        return std::make_unique<Solver>(
            problem_of(rows, mean, squared_norms, reweight, labels, floors, proportional, protect),
            metric.value_or(nullptr), metric_mean, threads,
            [&](const Problem& problem, const Problem& walked) {
              const ChainRows& walked_rows = metric ? **metric : rows;
              return std::make_unique<BlockAnnealer>(problem, rows, walked, walked_rows, seed,
                                                     chains);
            });
      }),
      "rows"_a, "mean"_a.noconvert(), "squared_norms"_a.noconvert(), "metric"_a,
      "metric_mean"_a.noconvert(), "reweight"_a, "labels"_a.noconvert(), "floors"_a.noconvert(),
      "proportional"_a, "protect"_a.noconvert(), "solver"_a, "seed"_a, "threads"_a, "seconds"_a,
      "chains"_a = 0, py::keep_alive<1, 2>(), py::keep_alive<1, 5>());
  m.def("resample", &resample, "energies"_a, "beta_step"_a, "uniform"_a,
        "The chain that takes each chain's place.");
  m.def("walk", &walk, "machine"_a, "K"_a.noconvert(), "dots"_a.noconvert(), "mask"_a.noconvert(),
        "labels"_a.noconvert(), "caps"_a.noconvert(), "proportional"_a, "mu"_a.noconvert(),
        "excess"_a.noconvert(), "counts"_a.noconvert(), "violation"_a.noconvert(),
        "energy"_a.noconvert(), "temperature"_a, "kappa"_a, "passes"_a, "enough"_a, "draw"_a,
        "One visit of chains to one block, in place; returns the net flips.");
  m.def("exponentials", &exponentials, "key"_a, "count"_a,
        "The exponential random numbers of a pass.");

  m.def("softmax_errors", &cuda::softmax_errors, "machine"_a, "logits"_a, "labels"_a, "errors"_a,
        "n"_a, "classes"_a, "softmax(logits) - onehot(labels), float32.");
  m.def("outer_rows", &outer_rows, "machine"_a, "b"_a, "a"_a, "dtype"_a, "labels"_a, "bias"_a,
        "out"_a, "out_dtype"_a, "n"_a, "k"_a, "d"_a,
        "out[i] = (b[i] - onehot(labels[i])) (x) [a[i], 1].");
  m.def("softmax_curvature", &cuda::softmax_curvature, "machine"_a, "probabilities"_a, "weights"_a,
        "values"_a, "dtype"_a, "n"_a, "classes"_a, "vectors"_a,
        "values <- w (diag p - p p^T) values, in place, for vectors of C logits side by side.");
  m.def("product", &product, "machine"_a, "dtype"_a, "transpose_a"_a, "transpose_b"_a, "m"_a, "n"_a,
        "k"_a, "A"_a, "B"_a, "C"_a, "C = op(A) op(B), row-major, m x n.");
}
