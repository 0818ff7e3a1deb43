// The dcvc dialect: the payload of one frame, as one rANS stream or as two that meet in the middle.
// docs/FORMAT.md is the definition.
#pragma once

#include <cstddef>
#include <cstdint>
#include <mutex>
#include <vector>

#include "rans.h"
#include "segment.h"
#include "tables.h"

namespace nvc::dcvc {

inline constexpr int kMaxStreams = 2;

// Codes frames; keeps its scratch memory from one to the next. Calls from several threads wait for each other.
class Encoder {
 public:
  explicit Encoder(int streams);  // throws std::invalid_argument

  // The payload of the segments, in coding order. Throws std::out_of_range when an index has no table row.
  std::vector<uint8_t> Encode(const std::vector<Segment>& segments);

 private:
  struct Coded {  // a segment without its skipped symbols
    const CdfTable* table;
    size_t begin, end;  // in entries_
  };
  struct Stream {
    std::vector<uint8_t> buffer;
    Writer writer;

    const uint8_t* begin() const noexcept { return writer.pos; }
    const uint8_t* end() const noexcept { return buffer.data() + buffer.size(); }
  };

  void Gather(const std::vector<Segment>& segments);
  void Write(int stream) noexcept;
  std::vector<uint8_t> Merge() const;

  std::mutex mutex_;
  const int streams_;
  std::vector<uint32_t> entries_;  // row << 8 | symbol
  std::vector<Coded> coded_;
  Stream stream_[kMaxStreams];
};

// Decodes the payload of one frame, segment by segment. A fault is final: later calls return it again.
// Calls from several threads wait for each other.
class Decoder {
 public:
  Decoder(const uint8_t* data, size_t size, int streams);  // copies the data; throws std::invalid_argument

  // Fills symbols (indexes.size of them).
  Status Decode(const CdfTable& table, const Indexes& indexes, int8_t* symbols);

  // To be called after the last segment: was everything consumed, and does it end as an encoder starts?
  Status Finish();

 private:
  struct Stream {
    std::vector<uint8_t> bytes;  // the payload as this stream reads it, then zeros
    Reader reader;               // at the start until the first symbol: no symbols, no bytes, not even a state
    Status status = Status::kOk;
  };

  Status Read(Stream* stream, const CdfTable& table, const Indexes& indexes, size_t begin, size_t end,
              int8_t* symbols) const noexcept;
  Status FirstFault() const noexcept;

  std::mutex mutex_;
  const int streams_;
  const size_t size_;
  Stream stream_[kMaxStreams];
};

}  // namespace nvc::dcvc
