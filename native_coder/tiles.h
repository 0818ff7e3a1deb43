// Operations on the tiles of AMX, as of Sapphire Rapids: eight matrices in registers, all of kRows rows of kBytes.
//
// The instructions are written out, as the intrinsics of GCC 12 take the numbers of tiles as literals alone and do not
// say that they read memory.
#ifndef NVC_TILES_H_
#define NVC_TILES_H_

#include <cstddef>

namespace nvc::tiles {

constexpr size_t kRows = 16;   // of a tile
constexpr size_t kBytes = 64;  // of a row

#ifdef NVC_TILES

// True if this processor has tiles, with products of int8 and of bfloat16, and the system lets this process use them,
// for which it is asked once.
bool Usable() noexcept;

// Sets up the tiles of this thread, and gives them back.
void Configure() noexcept;
void Release() noexcept;

#define NVC_TILE_FEATURES "amx-tile,amx-int8,amx-bf16"
#define NVC_TILE_OPERATION __attribute__((target(NVC_TILE_FEATURES), always_inline)) inline

// `stride` is the distance of rows in bytes.
template <int tile>
NVC_TILE_OPERATION void Load(const void* rows, size_t stride) {
  asm volatile("tileloadd (%0,%1,1), %%tmm%c2" : : "r"(rows), "r"(stride), "i"(tile) : "memory");
}

template <int tile>
NVC_TILE_OPERATION void Store(void* rows, size_t stride) {
  asm volatile("tilestored %%tmm%c2, (%0,%1,1)" : : "r"(rows), "r"(stride), "i"(tile) : "memory");
}

template <int tile>
NVC_TILE_OPERATION void Zero() {
  asm volatile("tilezero %%tmm%c0" : : "i"(tile));
}

// sum [row][column] += the sum of a [row][i] b [i][column] over 64 bytes i, in 32 bits. A row of b has four bytes of
// each column, next to each other; the following four are in the next row. Bytes of b are signed, those of a as named.
template <int sum, int a, int b>
NVC_TILE_OPERATION void AddSigned() {
  asm volatile("tdpbssd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(a), "i"(b));
}

template <int sum, int a, int b>
NVC_TILE_OPERATION void AddUnsigned() {
  asm volatile("tdpbusd %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(a), "i"(b));
}

// The same of 32 bfloat16, pairs of which lie together, in float32: those with even i are added up from the first on,
// then the odd ones, then both, and then these to the sum. Numbers below 2^-126 are taken for zero.
template <int sum, int a, int b>
NVC_TILE_OPERATION void AddBfloat16() {
  asm volatile("tdpbf16ps %%tmm%c2, %%tmm%c1, %%tmm%c0" : : "i"(sum), "i"(a), "i"(b));
}

#endif

}  // namespace nvc::tiles

#endif  // NVC_TILES_H_
