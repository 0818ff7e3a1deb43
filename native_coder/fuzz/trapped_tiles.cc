#include "trapped_tiles.h"

#ifndef __clang__
#pragma GCC diagnostic ignored "-Wuninitialized"  // in GCC's own header
#endif
#include <immintrin.h>
#include <signal.h>
#include <ucontext.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace nvc::tiles {
namespace {

constexpr size_t kTiles = 8, kRows = 16, kBytes = 64, kColumns = kBytes / 4;

using Tile = uint8_t[kRows][kBytes];

// The tiles of a thread.
struct State {
  bool configured = false;
  alignas(64) Tile tiles[kTiles] = {};
};
thread_local State state;

[[noreturn]] void Fault(const char* reason) {
  std::fprintf(stderr, "a real processor would fault: %s\n", reason);
  std::abort();
}

void Require(bool holds, const char* what) {
  if (!holds) Fault(what);
}

// Accepts the one configuration that tiles.h has, which all operations here rely on.
void Configure(const uint8_t* from) {
  uint8_t expected[64] = {1};
  for (size_t i = 0; i < kTiles; ++i) {
    expected[16 + 2 * i] = kBytes;
    expected[48 + i] = kRows;
  }
  Require(std::equal(expected, expected + 64, from), "tiles are configured otherwise");
  state = {};
  state.configured = true;
}

// Products of bytes, sign-extended or not.
void AddBytes(Tile& sums, const Tile& a, const Tile& b, bool a_signed, bool b_signed) {
  const auto wide = [](uint8_t x, bool is_signed) { return is_signed ? int32_t{static_cast<int8_t>(x)} : int32_t{x}; };
  for (size_t m = 0; m < kRows; ++m) {
    uint32_t row[kColumns];
    std::memcpy(row, sums[m], kBytes);
    for (size_t k = 0; k < kRows; ++k) {
      for (size_t n = 0; n < kColumns; ++n) {
        for (size_t i = 0; i < 4; ++i) {
          row[n] += static_cast<uint32_t>(wide(a[m][4 * k + i], a_signed) * wide(b[k][4 * n + i], b_signed));
        }
      }
    }
    std::memcpy(sums[m], row, kBytes);
  }
}

// Products of pairs of bfloat16: even and odd ones are added up apart, by fused multiply-adds, then to each other, and
// then to the sums, each rounded to the nearest even number, and denormals are zeros.
__attribute__((target("avx512f"))) void AddPairs(Tile& sums, const Tile& a, const Tile& b) {
  constexpr unsigned kFlush = 0x8040, kNearest = 0x1F80;
  const unsigned before = _mm_getcsr();
  _mm_setcsr(kFlush | kNearest);
  const __m512i upper = _mm512_set1_epi32(static_cast<int>(0xFFFF0000));
  for (size_t m = 0; m < kRows; ++m) {
    __m512 even = _mm512_setzero_ps(), odd = even;
    for (size_t k = 0; k < kRows; ++k) {
      int32_t pair;
      std::memcpy(&pair, &a[m][4 * k], sizeof pair);
      const __m512i x = _mm512_set1_epi32(pair), y = _mm512_load_si512(b[k]);
      even = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_slli_epi32(x, 16)),
                             _mm512_castsi512_ps(_mm512_slli_epi32(y, 16)), even);
      odd = _mm512_fmadd_ps(_mm512_castsi512_ps(_mm512_and_si512(x, upper)),
                            _mm512_castsi512_ps(_mm512_and_si512(y, upper)), odd);
    }
    _mm512_store_ps(sums[m], _mm512_add_ps(_mm512_load_ps(sums[m]), _mm512_add_ps(even, odd)));
  }
  _mm_setcsr(before);
}

// An instruction of the group VEX.128.0F38.W0.
class Instruction {
 public:
  Instruction(const uint8_t* at, const greg_t* registers) : at_(at), registers_(registers) {}

  bool is_known() const {
    const bool is_vex = at_[0] == 0xC4 && (at_[1] & 0x1F) == 2 && (at_[2] & 0x84) == 0;
    return is_vex && (opcode() == 0x49 || opcode() == 0x4B || opcode() == 0x5C || opcode() == 0x5E);
  }

  // Executes it and returns its length.
  size_t Execute() {
    Require(state.configured || (opcode() == 0x49 && !is_of_registers()), "tiles are not configured");
    if (opcode() == 0x49) return Control();
    if (opcode() == 0x4B) return Move();
    const size_t sum = reg(), a = at_[4] & 7, b = ~at_[2] >> 3 & 15;
    Require(is_of_registers() && sum < kTiles && b < kTiles && sum != a && sum != b && a != b, "wrong tiles");
    Tile* const tiles = state.tiles;
    if (opcode() == 0x5C) {
      Require(prefix() == kF3, "no product of bfloat16");
      AddPairs(tiles[sum], tiles[a], tiles[b]);
    } else {
      AddBytes(tiles[sum], tiles[a], tiles[b], prefix() == kF2 || prefix() == kF3, prefix() == kF2 || prefix() == k66);
    }
    return 5;
  }

 private:
  enum Prefix { kNone, k66, kF3, kF2 };

  uint8_t opcode() const { return at_[3]; }
  Prefix prefix() const { return static_cast<Prefix>(at_[2] & 3); }
  bool is_of_registers() const { return at_[4] >> 6 == 3; }
  size_t reg() const { return static_cast<size_t>((at_[4] >> 3 & 7) | (~at_[1] >> 4 & 8)); }

  // Configures, releases, or clears a tile.
  size_t Control() {
    if (!is_of_registers()) {
      Require(prefix() == kNone && reg() == 0, "an unknown operation on the configuration");
      const uint64_t address = Address();
      Configure(reinterpret_cast<const uint8_t*>(address));
      return length_;
    }
    if (prefix() == kNone && at_[4] == 0xC0) {
      state.configured = false;
    } else {
      Require(prefix() == kF2 && reg() < kTiles && (at_[4] & 7) == 0, "an unknown operation on tiles");
      std::memset(state.tiles[reg()], 0, sizeof(Tile));
    }
    return 5;
  }

  // Loads or stores a tile.
  size_t Move() {
    const bool is_load = prefix() == kF2;
    Require((is_load || prefix() == kF3) && !is_of_registers() && (at_[4] & 7) == 4 && reg() < kTiles,
            "an unknown operation on rows");
    const uint64_t address = Address();
    for (size_t row = 0; row < kRows; ++row) {
      auto* const memory = reinterpret_cast<uint8_t*>(address + row * index_);
      uint8_t* const ours = state.tiles[reg()][row];
      std::memcpy(is_load ? ours : memory, is_load ? memory : ours, kBytes);
    }
    return length_;
  }

  // The address of the operand without an index, which is left in `index_`.
  uint64_t Address() {
    const unsigned mod = at_[4] >> 6, rm = at_[4] & 7, high_base = ~at_[1] >> 2 & 8, high_index = ~at_[1] >> 3 & 8;
    uint64_t base = 0;
    length_ = 5;
    bool long_offset = mod == 2;
    if (rm == 4) {
      const uint8_t sib = at_[length_++];
      const unsigned index = (sib >> 3 & 7) | high_index;
      index_ = index == 4 ? 0 : Value(index) << (sib >> 6);
      if (mod == 0 && (sib & 7) == 5) {
        long_offset = true;
      } else {
        base = Value((sib & 7) | high_base);
      }
    } else if (mod == 0 && rm == 5) {
      base = reinterpret_cast<uint64_t>(at_) + 5 + 4;  // the following instruction
      long_offset = true;
    } else {
      base = Value(rm | high_base);
    }
    if (long_offset) {
      int32_t offset;
      std::memcpy(&offset, at_ + length_, sizeof offset);
      length_ += sizeof offset;
      return base + static_cast<uint64_t>(int64_t{offset});
    }
    return mod == 1 ? base + static_cast<uint64_t>(int64_t{static_cast<int8_t>(at_[length_++])}) : base;
  }

  uint64_t Value(unsigned number) const {
    constexpr int kOrder[] = {REG_RAX, REG_RCX, REG_RDX, REG_RBX, REG_RSP, REG_RBP, REG_RSI, REG_RDI,
                              REG_R8,  REG_R9,  REG_R10, REG_R11, REG_R12, REG_R13, REG_R14, REG_R15};
    return static_cast<uint64_t>(registers_[kOrder[number]]);
  }

  const uint8_t* at_;
  const greg_t* registers_;
  size_t length_ = 0;
  uint64_t index_ = 0;
};

void Handle(int, siginfo_t*, void* context) {
  greg_t* const registers = static_cast<ucontext_t*>(context)->uc_mcontext.gregs;
  Instruction instruction(reinterpret_cast<const uint8_t*>(registers[REG_RIP]), registers);
  if (instruction.is_known()) {
    registers[REG_RIP] += static_cast<greg_t>(instruction.Execute());
  } else {
    signal(SIGILL, SIG_DFL);
  }
}

}  // namespace

bool TrapTiles() noexcept {
  struct sigaction action = {};
  action.sa_sigaction = Handle;
  action.sa_flags = SA_SIGINFO;
  return __builtin_cpu_supports("avx512f") && sigaction(SIGILL, &action, nullptr) == 0;
}

}  // namespace nvc::tiles
