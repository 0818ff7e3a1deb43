// The kernels of networks that there are, by precision and ISA. A new ISA is a file of kernels and a row here.
#include "bfloat16.h"
#include "float32.h"
#include "functions.h"
#include "int16.h"

namespace nvc {
namespace {

// True if this processor has the kernels.
template <auto kernels>
bool Has() {
  return kernels() != nullptr;
}

// The newest ISA of each precision comes first. Only float32 has gradients.
constexpr struct {
  std::string_view precision;
  const char* isa;
  bool (*usable)();
  Functions (*functions)();
} kTable[] = {
    {"float32", "avx512", Has<float32::Avx512Kernels>, Float32OnAvx512},                   // float32_avx512.cc
    {"float32", "avx2", Has<float32::Avx2Kernels>, Float32OnAvx2},                         // float32_avx2.cc
    {"bfloat16", "amx", Has<bfloat16::AmxKernels>, Bfloat16OnAmx},                         // bfloat16_amx.cc
    {"bfloat16", "avx512_bf16", Has<bfloat16::Avx512Bf16Kernels>, Bfloat16OnAvx512Bf16},  // bfloat16_avx512.cc
    {"int16", "amx", Has<int16::AmxKernels>, Int16OnAmx},                                  // int16_amx.cc
    {"int16", "avx512", Has<int16::Avx512Kernels>, Int16OnAvx512},                         // int16_avx512.cc
    {"int16", "avx2", Has<int16::Avx2Kernels>, Int16OnAvx2},                               // int16_avx2.cc
};

}  // namespace

std::vector<NamedFunctions> FunctionsOf(std::string_view precision) {
  std::vector<NamedFunctions> isas;
  for (const auto& row : kTable) {
    if (row.precision == precision && row.usable()) isas.push_back({row.isa, row.functions()});
  }
  return isas;
}

}  // namespace nvc
