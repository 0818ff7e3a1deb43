// The interleaved dialect: the payload of one frame in parts for several threads, each of many rANS lanes that take
// turns in one run of bytes. docs/FORMAT.md is the definition.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "lanes.h"
#include "segment.h"
#include "tables.h"

namespace nvc::interleaved {

inline constexpr int kMaxThreads = 64;
inline constexpr size_t kMaxParts = 16;

// How a frame is cut up; both are powers of two.
struct Layout {
  size_t lanes = 1;
  size_t parts = 1;
};

// Codes frames; keeps its scratch memory from one to the next. Calls from several threads wait for each other.
class Encoder {
 public:
  Encoder(int threads, const Kernels& kernels);  // throws std::invalid_argument

  // The payload of the segments, in coding order; neither threads nor kernels make a difference to it. Throws
  // std::out_of_range when an index has no table row.
  std::vector<uint8_t> Encode(const std::vector<Segment>& segments);

 private:
  struct Chunk {
    const Segment* segment;
    size_t begin;    // in the segment
    size_t size;     // positions
    size_t scratch;  // where its bins_ and escapes_ begin
    size_t bins;
    size_t escapes;
    size_t bad_row;  // a row beyond the table, or 0
    int64_t bits;    // estimated size of the bins
  };
  struct Part {
    std::vector<uint8_t> buffer;
    LaneWriter writer;
    std::vector<uint8_t> escapes;  // from the first
    size_t escape_bytes = 0;
  };

  void Cut(const std::vector<Segment>& segments);
  void Gather(Chunk* chunk, size_t exact) noexcept;
  Layout Choose() const noexcept;
  void Reserve(Layout layout);
  void Write(size_t part, Layout layout) noexcept;
  std::vector<uint8_t> Join(Layout layout) const;

  std::mutex mutex_;
  const int threads_;
  const Kernels& kernels_;
  size_t positions_ = 0;
  std::vector<Chunk> chunks_;
  std::vector<uint32_t> bins_;  // packed
  std::vector<Escape> escapes_;
  std::vector<Part> parts_;
};

// Decodes payloads, segment by segment. A fault is final: later calls return it again, until Reset.
// Calls from several threads wait for each other.
class Decoder {
 public:
  Decoder(int threads, const Kernels& kernels);  // throws std::invalid_argument

  // Starts on the payload of a frame, which is copied; memory is kept from the one before.
  void Reset(const uint8_t* data, size_t size);

  // Fills symbols (indexes.size of them).
  Status Decode(const CdfTable& table, const Indexes& indexes, int8_t* symbols);

  // To be called after the last segment: was everything consumed, and does it end as an encoder starts?
  Status Finish();

 private:
  struct Part {
    LaneReader reader;
    const uint8_t* end = nullptr;
    size_t escape_bits = 0;  // read, from the end towards the start
    bool started = false;
    Status status = Status::kOk;

    const uint8_t* escapes() const noexcept { return end - (escape_bits + 7) / 8; }  // unread escape codes end here
  };

  Status Parse(const uint8_t* data, size_t size);
  Status Start(Part* part) const noexcept;
  Status Read(Part* part, const CdfTable& table, const Indexes& indexes, size_t begin, size_t size,
              int8_t* symbols) const noexcept;
  Status ReadEscapes(Part* part, const CdfTable& table, size_t first_row, const ChunkRows& rows,
                     ChunkSymbols* symbols) const noexcept;
  Status FirstFault() const noexcept;

  std::mutex mutex_;
  const int threads_;
  const Kernels& kernels_;
  std::vector<uint8_t> bytes_;  // the payload between zeros
  std::vector<Part> parts_;
  size_t size_ = 0;
  size_t chunks_ = 0;  // of all segments so far
  Status status_ = Status::kOk;
};

}  // namespace nvc::interleaved
