// Python binding of the FFI handlers, which Python registers with XLA.
#include <pybind11/pybind11.h>

#include "float32.h"
#include "functions.h"
#include "int16.h"
#include "tiles.h"

namespace py = pybind11;

namespace {

py::dict ByIsa(const char* precision) {
  const auto capsule = [](XLA_FFI_Handler* handler) { return py::capsule(reinterpret_cast<void*>(handler)); };
  py::dict all;
  for (const auto& [isa, functions] : nvc::FunctionsOf(precision)) {
    py::dict one;
    one["affine"] = capsule(functions.affine);
    one["convolve"] = capsule(functions.convolve);
    one["rest_of_block"] = capsule(functions.rest_of_block);
    if (functions.block != nullptr) {
      one["block"] = capsule(functions.block);
      one["block_gradient"] = capsule(functions.block_gradient);
    }
    all[isa] = one;
  }
  return all;
}

py::dict MotionByIsa() {
  py::dict all;
  for (const nvc::MotionFunctions& functions : nvc::AllMotionFunctions()) {
    py::dict one;
    one["estimate"] = py::capsule(reinterpret_cast<void*>(functions.estimate));
    one["compensate"] = py::capsule(reinterpret_cast<void*>(functions.compensate));
    one["compensate_gradient"] = py::capsule(reinterpret_cast<void*>(functions.compensate_gradient));
    one["refine"] = py::capsule(reinterpret_cast<void*>(functions.refine));
    all[functions.isa] = one;
  }
  return all;
}

py::dict DeblockingByIsa() {
  py::dict all;
  for (const nvc::DeblockingFunctions& functions : nvc::AllDeblockingFunctions()) {
    py::dict one;
    one["deblock"] = py::capsule(reinterpret_cast<void*>(functions.deblock));
    all[functions.isa] = one;
  }
  return all;
}

}  // namespace

PYBIND11_MODULE(_functions, m) {
  m.def("float32_functions", [] { return ByIsa("float32"); });
  m.def("bfloat16_functions", [] { return ByIsa("bfloat16"); });
  m.def("int16_functions", [] { return ByIsa("int16"); });
  m.def("motion_functions", &MotionByIsa);
  m.def("deblocking_functions", &DeblockingByIsa);
  m.attr("PANEL") = nvc::int16::kPanel;
  m.attr("TILE_BYTES") = nvc::tiles::kBytes;
  m.attr("WSILU_ENTRIES") = nvc::int16::kWsiluEntries;
  static_assert(nvc::int16::kPanel == nvc::floating::kPanel);
}
