#include "interleaved.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <stdexcept>
#include <string>

namespace nvc::interleaved {
namespace {

constexpr size_t kLengthBytes = 4;         // of each part but the last
constexpr size_t kExactPositions = 65536;  // all bins of a frame are counted up to here
constexpr size_t kExactBins = 128;         // and all of a chunk
constexpr size_t kStride = 17;             // beyond. It divides no chunk, so no column of a latent is always met
constexpr uint32_t kMaxEscapeBits = kDigitBits * (2 + 2 * kMaxDigit);  // that a decoder takes, two more than any is
constexpr size_t kMaxChunkEscapeBytes = kChunkSymbols * kMaxEscapeBits / 8 + sizeof(uint64_t);

constexpr unsigned kLanesMask = 7;  // in the first byte
constexpr unsigned kPartsShift = 4;

int CheckThreads(int threads) {
  if (threads < 1 || threads > kMaxThreads) {
    throw std::invalid_argument("threads is " + std::to_string(threads) + ", not in 1.." +
                                std::to_string(kMaxThreads));
  }
  return threads;
}

unsigned Log2(size_t power) noexcept {
  unsigned log = 0;
  while (power >> log != 1) ++log;
  return log;
}

size_t CountChunks(size_t positions) noexcept { return (positions + kChunkSymbols - 1) / kChunkSymbols; }

void CompactChunk(const Kernels& kernels, const Indexes& indexes, size_t begin, size_t size, ChunkRows* rows) noexcept {
  if (!indexes.wide) return kernels.compact(static_cast<const uint8_t*>(indexes.data) + begin, size, rows);
  const uint16_t* data = static_cast<const uint16_t*>(indexes.data) + begin;
  const Compacted result = Compact(data, size, rows->row, [](uint16_t index, size_t) { return index; });
  rows->count = result.count;
  rows->last = result.last;
}

// The symbols of the coded positions, compacted into `room` unless all are coded.
const int8_t* PickChunk(const Kernels& kernels, const Segment& segment, size_t begin, size_t size, size_t coded,
                        int8_t* room) noexcept {
  const int8_t* symbols = segment.symbols + begin;
  if (coded == size) return symbols;
  if (segment.indexes.wide) {
    const uint16_t* data = static_cast<const uint16_t*>(segment.indexes.data) + begin;
    Compact(data, size, room, [symbols](uint16_t, size_t i) { return symbols[i]; });
  } else {
    kernels.pick(static_cast<const uint8_t*>(segment.indexes.data) + begin, size, symbols, room);
  }
  return room;
}

// Inverse of PickChunk.
void SpreadChunk(const Kernels& kernels, const Indexes& indexes, size_t begin, size_t size, size_t coded,
                 const int8_t* compact, int8_t* symbols) noexcept {
  if (coded == size) {
    std::copy_n(compact, size, symbols + begin);
  } else if (indexes.wide) {
    Spread(static_cast<const uint16_t*>(indexes.data) + begin, size, compact, symbols + begin);
  } else {
    kernels.spread(static_cast<const uint8_t*>(indexes.data) + begin, size, compact, symbols + begin);
  }
}

// Size of the bins in whole bits, estimated from every stride-th. Without logarithms all machines get the same number.
int64_t CountBits(const uint32_t* bins, size_t count, size_t stride) noexcept {
  constexpr size_t kFactors = 32;  // a double can hold their product
  int64_t bits = 0;
  double product = 1;
  size_t factors = 0;
  for (size_t i = 0; i < count; i += stride) {
    product *= BinFreq(bins[i]);
    bits += kPrecisionBits;
    if (++factors % kFactors == 0 || i + stride >= count) {
      int exponent = 0;
      product = std::frexp(product, &exponent);
      bits -= exponent;
    }
  }
  return bits * static_cast<int64_t>(count) / static_cast<int64_t>(factors);
}

// The eight bytes before end, the last one lowest.
uint64_t LoadBackwards(const uint8_t* end) noexcept {
#if (defined(__GNUC__) || defined(__clang__)) && __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
  uint64_t value;
  std::memcpy(&value, end - sizeof value, sizeof value);
  return __builtin_bswap64(value);
#else
  uint64_t value = 0;
  for (int i = 0; i < 8; ++i) value |= uint64_t{end[-1 - i]} << (8 * i);
  return value;
#endif
}

// Number of digits of an escape code that begins with these two.
constexpr uint32_t CountDigits(uint32_t first, uint32_t second) noexcept {
  return first < kMaxDigit ? 1 + first : 2 + first + second;
}

// CountDigits of all pairs of digits, four bits each, in one number, which is faster than a LUT in memory.
constexpr uint64_t MakeDigitCounts() noexcept {
  uint64_t counts = 0;
  for (uint32_t code = 0; code < 16; ++code) {
    counts |= uint64_t{CountDigits(code & kMaxDigit, code >> kDigitBits)} << (4 * code);
  }
  return counts;
}
constexpr uint64_t kDigitCounts = MakeDigitCounts();

// Writes escape codes, the first bit lowest, and three bytes more.
class EscapeWriter {
 public:
  explicit EscapeWriter(uint8_t* pos) noexcept : pos_(pos) {}

  void Put(Escape escape) noexcept {
    window_ |= escape.digits << used_;
    used_ += kDigitBits * escape.count;
    for (size_t i = 0; i < sizeof window_; ++i) pos_[i] = static_cast<uint8_t>(window_ >> (8 * i));
    pos_ += used_ / 8;
    window_ >>= used_ & ~7u;
    used_ %= 8;
  }
  uint8_t* end() const noexcept { return pos_ + (used_ > 0); }

 private:
  uint8_t* pos_;
  uint32_t window_ = 0;
  uint32_t used_ = 0;  // bits of the window, less than 8 between two codes
};

}  // namespace

Encoder::Encoder(int threads, const Kernels& kernels) : threads_(CheckThreads(threads)), kernels_(kernels) {}

std::vector<uint8_t> Encoder::Encode(const std::vector<Segment>& segments) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Cut(segments);
  const int threads = positions_ >= kThreadedSymbols ? threads_ : 1;
  const size_t exact = positions_ <= kExactPositions ? kChunkSymbols : kExactBins;
  RunJobs(threads, chunks_.size(), [&](size_t i) { Gather(&chunks_[i], exact); });
  for (const Chunk& chunk : chunks_) {
    if (chunk.bad_row == 0) continue;
    throw std::out_of_range("an index leads to row " + std::to_string(chunk.bad_row) + ", the table has " +
                            std::to_string(chunk.segment->table->rows()) + " rows");
  }
  const Layout layout = Choose();
  Reserve(layout);
  RunJobs(threads, layout.parts, [&](size_t part) { Write(part, layout); });
  return Join(layout);
}

void Encoder::Cut(const std::vector<Segment>& segments) {
  chunks_.clear();
  positions_ = 0;
  for (const Segment& segment : segments) {
    for (size_t begin = 0; begin < segment.indexes.size; begin += kChunkSymbols) {
      const size_t size = std::min(kChunkSymbols, segment.indexes.size - begin);
      chunks_.push_back({&segment, begin, size, positions_, 0, 0, 0, 0});
      positions_ += size;
    }
  }
  if (bins_.size() < positions_ + kSlack) bins_.resize(positions_ + kSlack);
  if (escapes_.size() < positions_) escapes_.resize(positions_);
}

void Encoder::Gather(Chunk* chunk, size_t exact) noexcept {
  const Segment& segment = *chunk->segment;
  const CdfTable& table = *segment.table;
  ChunkRows rows;
  CompactChunk(kernels_, segment.indexes, chunk->begin, chunk->size, &rows);
  if (rows.count == 0) return;
  const size_t first_row = std::min(segment.indexes.first_row, kMaxRows);
  if (first_row + rows.last >= table.rows()) {
    chunk->bad_row = first_row + rows.last;
    return;
  }
  int8_t room[kChunkSymbols + kSlack];
  const int8_t* symbols = PickChunk(kernels_, segment, chunk->begin, chunk->size, rows.count, room);
  uint32_t* bins = bins_.data() + chunk->scratch;
  ChunkTails tails;
  kernels_.look_up(table, first_row, &rows, symbols, bins, &tails);
  Escape* escape = escapes_.data() + chunk->scratch;
  uint16_t places[kChunkSymbols + kSlack];
  const size_t count = kernels_.list(tails, rows.count, places);
  for (size_t k = 0; k < count; ++k) {
    const Row& info = table.row(first_row + rows.row[places[k]]);
    escape[k] = MakeEscape(symbols[places[k]] - info.offset, info.tail);
  }
  chunk->bins = rows.count;
  chunk->escapes = count;
  chunk->bits = CountBits(bins, rows.count, rows.count <= exact ? 1 : kStride);
}

// The most lanes and parts that the limits on the size allow (docs/FORMAT.md): a lane takes 3.4 bytes on average.
Layout Encoder::Choose() const noexcept {
  size_t symbols = 0;
  int64_t bits = 0;
  for (const Chunk& chunk : chunks_) {
    symbols += chunk.bins;
    bits += chunk.bits;
    for (size_t i = 0; i < chunk.escapes; ++i) bits += kDigitBits * escapes_[chunk.scratch + i].count;
  }
  const bool large = symbols > 20000;
  // In 1/10000 byte; integers are rounded in the same way on all machines.
  const int64_t room = large ? 600000 + 14 * bits / 8 : 15000 + 45 * bits / 8;
  const auto fits = [room](Layout layout) {
    return 34500 * static_cast<int64_t>(layout.lanes * layout.parts - 1) +
               50000 * static_cast<int64_t>(layout.parts - 1) <= room;
  };
  Layout layout;
  while (layout.lanes < (large ? kMaxLanes : kMaxLanes / 2) && fits({2 * layout.lanes, 1})) layout.lanes *= 2;
  while (layout.lanes == kMaxLanes && layout.parts < kMaxParts && fits({layout.lanes, 2 * layout.parts})) {
    layout.parts *= 2;
  }
  return layout;
}

void Encoder::Reserve(Layout layout) {
  if (parts_.size() < layout.parts) parts_.resize(layout.parts);
  for (size_t p = 0; p < layout.parts; ++p) {
    size_t bins = 0;
    size_t escapes = 0;
    for (size_t i = p; i < chunks_.size(); i += layout.parts) {
      bins += chunks_[i].bins;
      escapes += chunks_[i].escapes;
    }
    const size_t room = 2 * bins + layout.lanes * kStateBytes + kSlack;
    if (parts_[p].buffer.size() < room) parts_[p].buffer.resize(room);
    const size_t escape_room = escapes * kMaxEscapeBits / 8 + sizeof(uint32_t);
    if (parts_[p].escapes.size() < escape_room) parts_[p].escapes.resize(escape_room);
  }
}

void Encoder::Write(size_t part, Layout layout) noexcept {
  Part& out = parts_[part];
  out.writer.lanes = layout.lanes;
  out.writer.pos = out.buffer.data() + out.buffer.size();
  std::fill_n(out.writer.state, layout.lanes, kLowerBound);
  EscapeWriter escapes(out.escapes.data());
  size_t count = 0;
  for (size_t i = part; i < chunks_.size(); i += layout.parts) {
    const Escape* escape = escapes_.data() + chunks_[i].scratch;
    std::for_each(escape, escape + chunks_[i].escapes, [&](Escape code) { escapes.Put(code); });
    count = i + 1;
  }
  out.escape_bytes = static_cast<size_t>(escapes.end() - out.escapes.data());
  bool any = false;
  while (count > 0) {
    const Chunk& chunk = chunks_[count - 1];
    kernels_.encode(&out.writer, bins_.data() + chunk.scratch, chunk.bins);
    any |= chunk.bins > 0;
    count = count > layout.parts ? count - layout.parts : 0;
  }
  if (!any) return;
  for (size_t lane = layout.lanes; lane-- > 0;) {
    out.writer.pos = PutState({out.writer.state[lane], out.writer.pos}).pos;
  }
}

std::vector<uint8_t> Encoder::Join(Layout layout) const {
  std::vector<uint8_t> payload;
  if (std::all_of(chunks_.begin(), chunks_.end(), [](const Chunk& chunk) { return chunk.bins == 0; })) return payload;
  payload.push_back(static_cast<uint8_t>(Log2(layout.lanes) | Log2(layout.parts) << kPartsShift));
  const auto size = [this](size_t p) {
    const uint8_t* end = parts_[p].buffer.data() + parts_[p].buffer.size();
    return static_cast<size_t>(end - parts_[p].writer.pos) + parts_[p].escape_bytes;
  };
  for (size_t p = 0; p + 1 < layout.parts; ++p) {
    for (size_t i = 0; i < kLengthBytes; ++i) payload.push_back(static_cast<uint8_t>(size(p) >> (8 * i)));
  }
  for (size_t p = 0; p < layout.parts; ++p) {
    const uint8_t* end = parts_[p].buffer.data() + parts_[p].buffer.size();
    payload.insert(payload.end(), static_cast<const uint8_t*>(parts_[p].writer.pos), end);
    const uint8_t* escapes = parts_[p].escapes.data();
    payload.insert(payload.end(), std::make_reverse_iterator(escapes + parts_[p].escape_bytes),
                   std::make_reverse_iterator(escapes));
  }
  return payload;
}

Decoder::Decoder(int threads, const Kernels& kernels) : threads_(CheckThreads(threads)), kernels_(kernels) {}

void Decoder::Reset(const uint8_t* data, size_t size) {
  const std::lock_guard<std::mutex> lock(mutex_);
  chunks_ = 0;
  size_ = size;
  const size_t front = kMaxChunkEscapeBytes;
  bytes_.assign(front + size + kMaxChunkReads, 0);
  std::copy_n(data, size, bytes_.begin() + static_cast<std::ptrdiff_t>(front));
  status_ = Parse(bytes_.data() + front, size);
}

Status Decoder::Parse(const uint8_t* data, size_t size) {
  const unsigned header = size == 0 ? 0 : data[0];
  const Layout layout{size_t{1} << (header & kLanesMask), size_t{1} << (header >> kPartsShift)};
  if (layout.lanes > kMaxLanes || layout.parts > kMaxParts || (header & 8) != 0) return Status::kBadHeader;
  parts_.assign(layout.parts, Part{});
  const uint8_t* const end = data + size;
  const uint8_t* pos = size == 0 ? data : data + 1;
  const uint8_t* length = pos;
  if (static_cast<size_t>(end - pos) < kLengthBytes * (layout.parts - 1)) return Status::kTruncated;
  pos += kLengthBytes * (layout.parts - 1);
  for (Part& part : parts_) {
    const bool last = &part == &parts_.back();
    const size_t bytes = last ? static_cast<size_t>(end - pos) : GetState({0, length}).state;
    if (bytes > static_cast<size_t>(end - pos)) return Status::kTruncated;
    length += kLengthBytes;
    part.reader.lanes = layout.lanes;
    part.reader.pos = pos;
    pos += bytes;
    part.end = pos;
  }
  return Status::kOk;
}

Status Decoder::Start(Part* part) const noexcept {
  if (static_cast<size_t>(part->end - part->reader.pos) < kStateBytes * part->reader.lanes) return Status::kTruncated;
  bool valid = true;
  for (size_t lane = 0; lane < part->reader.lanes; ++lane) {
    const Reader r = GetState({0, part->reader.pos});
    part->reader.pos = r.pos;
    part->reader.state[lane] = r.state;
    valid &= IsValidState(r.state);
  }
  part->started = true;
  return valid ? Status::kOk : Status::kBadSymbol;
}

Status Decoder::Decode(const CdfTable& table, const Indexes& indexes, int8_t* symbols) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (FirstFault() != Status::kOk) return FirstFault();
  const size_t chunks = CountChunks(indexes.size);
  RunJobs(indexes.size >= kThreadedSymbols ? threads_ : 1, parts_.size(), [&](size_t p) {
    Part& part = parts_[p];
    const size_t first = (p + parts_.size() - chunks_ % parts_.size()) % parts_.size();
    for (size_t chunk = first; chunk < chunks && part.status == Status::kOk; chunk += parts_.size()) {
      const size_t begin = chunk * kChunkSymbols;
      part.status = Read(&part, table, indexes, begin, std::min(kChunkSymbols, indexes.size - begin), symbols);
    }
  });
  chunks_ += chunks;
  return FirstFault();
}

Status Decoder::Read(Part* part, const CdfTable& table, const Indexes& indexes, size_t begin, size_t size,
                     int8_t* symbols) const noexcept {
  ChunkRows rows;
  CompactChunk(kernels_, indexes, begin, size, &rows);
  if (rows.count == 0) {
    std::fill_n(symbols + begin, size, int8_t{0});
    return Status::kOk;
  }
  const size_t first_row = std::min(indexes.first_row, kMaxRows);
  if (first_row + rows.last >= table.rows()) return Status::kBadIndex;
  if (!part->started) {
    const Status status = Start(part);
    if (status != Status::kOk) return status;
  }
  ChunkSymbols compact;
  kernels_.decode(&part->reader, table, first_row, &rows, &compact);
  const Status status = ReadEscapes(part, table, first_row, rows, &compact);
  if (part->reader.pos > part->escapes()) return Status::kTruncated;
  if (status != Status::kOk) return status;
  SpreadChunk(kernels_, indexes, begin, size, rows.count, compact.symbol, symbols);
  return Status::kOk;
}

Status Decoder::ReadEscapes(Part* part, const CdfTable& table, size_t first_row, const ChunkRows& rows,
                            ChunkSymbols* symbols) const noexcept {
  uint16_t escaped[kChunkSymbols + kSlack];
  const size_t count = kernels_.list(symbols->tails, rows.count, escaped);
  bool fault = false;
  size_t bit = part->escape_bits;
  uint64_t window = 0;
  for (size_t k = 0; k < count; ++k) {
    if (k % 3 == 0) window = LoadBackwards(part->end - bit / 8) >> (bit % 8);  // 57 bits, enough for three codes
    const uint32_t code = static_cast<uint32_t>(window);
    const uint32_t used = kDigitBits * (kDigitCounts >> (code % 16 * 4) & 15);
    const uint32_t before = kDigitBits << ((code & kMaxDigit) == kMaxDigit);  // bits of the digit count
    const uint32_t raw = (code & ((1u << used) - 1)) >> before;
    window >>= used;
    bit += used;
    const Row& info = table.row(first_row + rows.row[escaped[k]]);
    const int32_t symbol = EscapedBin(raw, info.tail) + info.offset;
    symbols->symbol[escaped[k]] = static_cast<int8_t>(symbol);
    fault |= used > kMaxEscapeBits - kDigitBits || static_cast<int8_t>(symbol) != symbol;
  }
  part->escape_bits = bit;
  return fault ? Status::kBadSymbol : Status::kOk;
}

Status Decoder::FirstFault() const noexcept {
  if (status_ != Status::kOk) return status_;
  for (const Part& part : parts_) {
    if (part.status != Status::kOk) return part.status;
  }
  return Status::kOk;
}

Status Decoder::Finish() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (FirstFault() != Status::kOk) return FirstFault();
  bool any = false;
  for (const Part& part : parts_) {
    any |= part.started;
    const uint32_t* state = part.reader.state;
    if (part.reader.pos != part.escapes()) return Status::kBadEnd;
    if (part.escape_bits % 8 != 0 && *part.escapes() >> (part.escape_bits % 8) != 0) return Status::kBadEnd;
    const auto unlike_the_start = [](uint32_t value) { return value != kLowerBound; };
    if (part.started && std::any_of(state, state + part.reader.lanes, unlike_the_start)) return Status::kBadEnd;
  }
  return any || size_ == 0 ? Status::kOk : Status::kBadEnd;
}

}  // namespace nvc::interleaved
