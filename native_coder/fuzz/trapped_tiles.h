// For tests on processors without AMX: its instructions as Intel documents them, executed in a signal handler.
#ifndef NVC_TRAPPED_TILES_H_
#define NVC_TRAPPED_TILES_H_

namespace nvc::tiles {

// From now on the instructions of tiles.h that the processor refuses are executed all the same, but slowly. False where
// that is not possible.
bool TrapTiles() noexcept;

}  // namespace nvc::tiles

#endif  // NVC_TRAPPED_TILES_H_
