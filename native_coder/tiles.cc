#include "tiles.h"

#ifdef NVC_TILES

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cstdint>

#ifdef NVC_TRAPPED_TILES
#include "fuzz/trapped_tiles.h"
#endif

namespace nvc::tiles {
namespace {

// The operand of LDTILECFG.
struct alignas(64) Configuration {
  uint8_t palette = 1;  // eight tiles of up to 16 rows of 64 bytes
  uint8_t start_row = 0;
  uint8_t reserved[14] = {};
  uint16_t bytes[16] = {kBytes, kBytes, kBytes, kBytes, kBytes, kBytes, kBytes, kBytes};  // of a row; 8 are reserved
  uint8_t rows[16] = {kRows, kRows, kRows, kRows, kRows, kRows, kRows, kRows};            // 8 are reserved
};
static_assert(sizeof(Configuration) == 64);

constexpr Configuration kConfiguration;

bool Ask() noexcept {
  constexpr unsigned kBfloat16 = 1U << 22, kTile = 1U << 24, kInt8 = 1U << 25, kAll = kBfloat16 | kTile | kInt8;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d & kAll) != kAll) return false;
  constexpr long kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

bool Usable() noexcept {
#ifdef NVC_TRAPPED_TILES
  static const bool usable = Ask() || TrapTiles();
#else
  static const bool usable = Ask();
#endif
  return usable;
}

__attribute__((target(NVC_TILE_FEATURES))) void Configure() noexcept {
  asm volatile("ldtilecfg %0" : : "m"(kConfiguration));
}

__attribute__((target(NVC_TILE_FEATURES))) void Release() noexcept { asm volatile("tilerelease"); }

}  // namespace nvc::tiles

#endif  // NVC_TILES
