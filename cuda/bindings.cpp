// dprune._cuda: the only pybind11 file of the CUDA module.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include "device.h"

namespace py = pybind11;
using namespace dprune::cuda;

PYBIND11_MODULE(_cuda, m) {
  m.doc() = "CUDA twin of dprune._core. Imports without a driver; devices() is then empty.";

  py::class_<Device>(m, "Device", "One CUDA device.")
      .def_readonly("name", &Device::name)
      .def_readonly("major", &Device::major)
      .def_readonly("minor", &Device::minor)
      .def_readonly("multiprocessors", &Device::multiprocessors)
      .def_readonly("memory_bytes", &Device::memory_bytes);

  m.def("devices", &devices, py::call_guard<py::gil_scoped_release>(),
        "The CUDA devices this process can use; empty without a driver or a device.");
}
