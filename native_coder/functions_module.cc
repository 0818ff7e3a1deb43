// What XLA calls, for Python to register.
#include <pybind11/pybind11.h>

#include "float32.h"
#include "functions.h"
#include "int16.h"

namespace py = pybind11;

namespace {

py::dict ByKind(const std::vector<nvc::Functions>& kinds) {
  const auto capsule = [](XLA_FFI_Handler* handler) { return py::capsule(reinterpret_cast<void*>(handler)); };
  py::dict all;
  for (const nvc::Functions& functions : kinds) {
    py::dict one;
    one["affine"] = capsule(functions.affine);
    one["convolve"] = capsule(functions.convolve);
    one["rest_of_block"] = capsule(functions.rest_of_block);
    all[functions.kind] = one;
  }
  return all;
}

}  // namespace

PYBIND11_MODULE(_functions, m) {
  m.def("float32_functions", [] { return ByKind(nvc::Float32Functions()); });
  m.def("int16_functions", [] { return ByKind(nvc::Int16Functions()); });
  m.attr("PANEL") = nvc::int16::kPanel;
  m.attr("WSILU_ENTRIES") = nvc::int16::kWsiluEntries;
  static_assert(nvc::int16::kPanel == nvc::float32::kPanel);
}
