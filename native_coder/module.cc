// Python binding: checks arguments, releases the GIL around the work, turns a Status into an exception.
#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <vector>

#include "dcvc.h"
#include "interleaved.h"
#include "lanes.h"
#include "tables.h"

namespace py = pybind11;

namespace {

using nvc::CdfTable;
using nvc::Indexes;
using nvc::Segment;
using nvc::Status;

struct CorruptError : std::runtime_error {
  using std::runtime_error::runtime_error;
};
struct TruncatedError : CorruptError {
  using CorruptError::CorruptError;
};

void CheckStatus(Status status) {
  switch (status) {
    case Status::kOk: return;
    case Status::kTruncated: throw TruncatedError("the payload ends before its last symbol");
    case Status::kBadHeader: throw CorruptError("the payload begins with an impossible byte");
    case Status::kBadSymbol: throw CorruptError("the payload holds an impossible symbol");
    case Status::kBadIndex: throw py::index_error("an index leads beyond the rows of the table");
    case Status::kBadEnd: throw CorruptError("the payload does not end after its last symbol");
  }
}

bool IsFlat(const py::array& array) { return (array.flags() & py::array::c_style) != 0; }

template <class T>
bool HasType(const py::array& array) {
  return array.dtype().equal(py::dtype::of<T>());
}

std::string Describe(const py::array& array) {
  return std::string(IsFlat(array) ? "" : "non-contiguous ") + py::str(array.dtype()).cast<std::string>();
}

const int32_t* TableData(const py::array& array, const char* name, py::ssize_t ndim) {
  if (!IsFlat(array) || !HasType<int32_t>(array) || array.ndim() != ndim) {
    throw py::type_error(std::string(name) + " must be a C-contiguous int32 array with " + std::to_string(ndim) +
                         " dimensions, not " + Describe(array));
  }
  return static_cast<const int32_t*>(array.data());
}

std::shared_ptr<CdfTable> MakeTable(const py::array& cdf, const py::array& length, const py::array& offset) {
  const int32_t* values = TableData(cdf, "cdf", 2);
  const int32_t* lengths = TableData(length, "length", 1);
  const int32_t* offsets = TableData(offset, "offset", 1);
  if (length.shape(0) != cdf.shape(0) || offset.shape(0) != cdf.shape(0)) {
    throw py::value_error("cdf, length and offset must have the same number of rows");
  }
  return std::make_shared<CdfTable>(values, lengths, offsets, static_cast<size_t>(cdf.shape(0)),
                                    static_cast<size_t>(cdf.shape(1)));
}

Indexes GetIndexes(const py::array& array, size_t first_row) {
  const bool wide = HasType<uint16_t>(array);
  if (!IsFlat(array) || !(wide || HasType<uint8_t>(array))) {
    throw py::type_error("indexes must be a C-contiguous uint8 or uint16 array, not " + Describe(array));
  }
  return {array.data(), wide, static_cast<size_t>(array.size()), first_row};
}

using SegmentTuple = std::tuple<std::shared_ptr<CdfTable>, py::array, py::array, size_t>;

SegmentTuple CastSegment(const py::handle& item) {
  try {
    auto segment = item.cast<SegmentTuple>();
    if (std::get<0>(segment) != nullptr) return segment;
  } catch (const py::cast_error&) {
  }
  throw py::type_error("a segment must be a tuple (table, symbols, indexes, first_row), not " +
                       py::repr(item).cast<std::string>());
}

template <class Encoder>
py::bytes Encode(Encoder& encoder, const py::sequence& segments) {
  std::vector<SegmentTuple> alive;  // another thread may change the sequence while the GIL is released
  std::vector<Segment> views;
  for (const py::handle& item : segments) {
    const auto& [table, symbols, indexes, first_row] = alive.emplace_back(CastSegment(item));
    if (!IsFlat(symbols) || !HasType<int8_t>(symbols)) {
      throw py::type_error("symbols must be a C-contiguous int8 array, not " + Describe(symbols));
    }
    if (symbols.size() != indexes.size()) {
      throw py::value_error("a segment has " + std::to_string(symbols.size()) + " symbols but " +
                            std::to_string(indexes.size()) + " indexes");
    }
    views.push_back({table.get(), static_cast<const int8_t*>(symbols.data()), GetIndexes(indexes, first_row)});
  }
  std::vector<uint8_t> payload;
  {
    const py::gil_scoped_release release;
    payload = encoder.Encode(views);
  }
  return py::bytes(reinterpret_cast<const char*>(payload.data()), payload.size());
}

struct Bytes {
  const uint8_t* data;
  size_t size;
};

Bytes GetBytes(const py::buffer_info& info) {
  if (info.ndim != 1 || info.itemsize != 1 || info.strides[0] != 1) {
    throw py::type_error("data must be a contiguous buffer of bytes");
  }
  return {static_cast<const uint8_t*>(info.ptr), static_cast<size_t>(info.size)};
}

std::unique_ptr<nvc::dcvc::Decoder> MakeDcvcDecoder(const py::buffer& buffer, int streams) {
  const py::buffer_info info = buffer.request();
  const auto [data, size] = GetBytes(info);
  return std::make_unique<nvc::dcvc::Decoder>(data, size, streams);
}

void Reset(nvc::interleaved::Decoder& decoder, const py::buffer& buffer) {
  const py::buffer_info info = buffer.request();
  const auto [data, size] = GetBytes(info);
  decoder.Reset(data, size);
}

const nvc::Kernels& GetKernels(const std::optional<std::string>& name) {
  static const std::vector<const nvc::Kernels*> all = nvc::AllKernels();
  if (!name) return *all.back();
  for (const nvc::Kernels* kernels : all) {
    if (*name == kernels->name) return *kernels;
  }
  throw py::value_error("there are no kernels " + py::repr(py::str(*name)).cast<std::string>() + " on this processor");
}

std::vector<std::string> KernelNames() {
  std::vector<std::string> names;
  for (const nvc::Kernels* kernels : nvc::AllKernels()) names.emplace_back(kernels->name);
  return names;
}

std::unique_ptr<nvc::interleaved::Encoder> MakeInterleavedEncoder(int threads,
                                                                  const std::optional<std::string>& kernels) {
  return std::make_unique<nvc::interleaved::Encoder>(threads, GetKernels(kernels));
}

std::unique_ptr<nvc::interleaved::Decoder> MakeInterleavedDecoder(const py::buffer& buffer, int threads,
                                                                  const std::optional<std::string>& kernels) {
  auto decoder = std::make_unique<nvc::interleaved::Decoder>(threads, GetKernels(kernels));
  Reset(*decoder, buffer);
  return decoder;
}

template <class Decoder>
py::array_t<int8_t> Decode(Decoder& decoder, const CdfTable& table, const py::array& array, size_t first_row) {
  const Indexes indexes = GetIndexes(array, first_row);
  py::array_t<int8_t> symbols(std::vector<py::ssize_t>(array.shape(), array.shape() + array.ndim()));
  int8_t* data = symbols.mutable_data();
  Status status;
  {
    const py::gil_scoped_release release;
    status = decoder.Decode(table, indexes, data);
  }
  CheckStatus(status);
  return symbols;
}

template <class Decoder>
void Finish(Decoder& decoder) {
  CheckStatus(decoder.Finish());
}

}  // namespace

PYBIND11_MODULE(_native, m) {
  const auto corrupt = py::register_exception<CorruptError>(m, "CorruptError", PyExc_ValueError);
  py::register_exception<TruncatedError>(m, "TruncatedError", corrupt);

  py::class_<CdfTable, std::shared_ptr<CdfTable>>(m, "CdfTable")
      .def(py::init(&MakeTable), py::arg("cdf"), py::arg("length"), py::arg("offset"))
      .def_property_readonly("rows", &CdfTable::rows);

  py::class_<nvc::dcvc::Encoder>(m, "DcvcEncoder")
      .def(py::init<int>(), py::arg("streams") = 1)
      .def("encode", &Encode<nvc::dcvc::Encoder>, py::arg("segments"));

  py::class_<nvc::dcvc::Decoder>(m, "DcvcDecoder")
      .def(py::init(&MakeDcvcDecoder), py::arg("data"), py::arg("streams") = 1)
      .def("decode", &Decode<nvc::dcvc::Decoder>, py::arg("table"), py::arg("indexes"), py::arg("first_row") = 0)
      .def("finish", &Finish<nvc::dcvc::Decoder>);

  py::class_<nvc::interleaved::Encoder>(m, "InterleavedEncoder")
      .def(py::init(&MakeInterleavedEncoder), py::arg("threads") = 1, py::kw_only(), py::arg("kernels") = py::none())
      .def("encode", &Encode<nvc::interleaved::Encoder>, py::arg("segments"));

  py::class_<nvc::interleaved::Decoder>(m, "InterleavedDecoder")
      .def(py::init(&MakeInterleavedDecoder), py::arg("data"), py::arg("threads") = 1, py::kw_only(),
           py::arg("kernels") = py::none())
      .def("reset", &Reset, py::arg("data"))
      .def("decode", &Decode<nvc::interleaved::Decoder>, py::arg("table"), py::arg("indexes"),
           py::arg("first_row") = 0)
      .def("finish", &Finish<nvc::interleaved::Decoder>);

  m.def("kernels", &KernelNames);
}
