#include "dcvc.h"

#include <algorithm>
#include <stdexcept>
#include <string>

namespace nvc::dcvc {
namespace {

constexpr ptrdiff_t kMaxShared = 8;    // bytes that the two streams may share
constexpr size_t kBlockSymbols = 256;  // between two checks for the end of the data

int CheckStreams(int streams) {
  if (streams < 1 || streams > kMaxStreams) {
    throw std::invalid_argument("streams is " + std::to_string(streams) + ", not 1 or 2");
  }
  return streams;
}

// Stores pack(row, i) for each coded i of begin .. end - 1 in entries, which has room for all i.
template <class Pack>
Compacted Compact(const Indexes& indexes, size_t begin, size_t end, uint32_t* entries, Pack pack) noexcept {
  const uint32_t first_row = static_cast<uint32_t>(std::min(indexes.first_row, kMaxRows));
  const auto shifted = [&](uint32_t index, size_t i) { return pack(first_row + index, begin + i); };
  Compacted result =
      indexes.wide ? nvc::Compact(static_cast<const uint16_t*>(indexes.data) + begin, end - begin, entries, shifted)
                   : nvc::Compact(static_cast<const uint8_t*>(indexes.data) + begin, end - begin, entries, shifted);
  result.last += first_row;
  return result;
}

void Spread(const Indexes& indexes, size_t begin, size_t end, const int8_t* compact, int8_t* symbols) noexcept {
  indexes.wide ? nvc::Spread(static_cast<const uint16_t*>(indexes.data) + begin, end - begin, compact, symbols + begin)
               : nvc::Spread(static_cast<const uint8_t*>(indexes.data) + begin, end - begin, compact, symbols + begin);
}

template <class Index>
size_t CountCoded(const Index* data, size_t size) noexcept {
  return size - static_cast<size_t>(std::count(data, data + size, kSkip<Index>));
}

// Position at which the second half of the coded symbols begins.
template <class Index>
size_t HalfAs(const Indexes& indexes) noexcept {
  const Index* data = static_cast<const Index*>(indexes.data);
  size_t left = CountCoded(data, indexes.size) / 2;
  size_t i = 0;
  for (; indexes.size - i >= kBlockSymbols; i += kBlockSymbols) {
    const size_t coded = CountCoded(data + i, kBlockSymbols);
    if (coded > left) break;
    left -= coded;
  }
  for (; left > 0 && i < indexes.size; ++i) left -= data[i] != kSkip<Index>;
  return i;
}

size_t Half(const Indexes& indexes) noexcept {
  return indexes.wide ? HalfAs<uint16_t>(indexes) : HalfAs<uint8_t>(indexes);
}

// Runs work(0) and, with two streams, work(1), on a second thread where that is faster.
template <class Work>
void RunStreams(int streams, size_t symbols, const Work& work) {
  RunJobs(symbols >= kThreadedSymbols ? streams : 1, static_cast<size_t>(streams),
          [&](size_t s) { work(static_cast<int>(s)); });
}

// First of the n coded symbols that belongs to a stream; its last one precedes the first of the next stream.
size_t PartBegin(size_t n, int stream, int streams) noexcept {
  return n * static_cast<size_t>(stream) / static_cast<size_t>(streams);
}

// Number of trailing bytes that two streams share: their common zeros, or else one byte that happens to be equal.
size_t SharedBytes(const uint8_t* begin0, const uint8_t* end0, const uint8_t* begin1, const uint8_t* end1) noexcept {
  const ptrdiff_t most = std::min({end0 - begin0, end1 - begin1, kMaxShared});
  ptrdiff_t zeros = 0;
  while (zeros < most && end0[-1 - zeros] == 0 && end1[-1 - zeros] == 0) ++zeros;
  return zeros == 0 && most > 0 && end0[-1] == end1[-1] ? 1 : static_cast<size_t>(zeros);
}

}  // namespace

Encoder::Encoder(int streams) : streams_(CheckStreams(streams)) {}

std::vector<uint8_t> Encoder::Encode(const std::vector<Segment>& segments) {
  const std::lock_guard<std::mutex> lock(mutex_);
  Gather(segments);
  for (int s = 0; s < streams_; ++s) {
    size_t symbols = 0;
    for (const Coded& coded : coded_) {
      const size_t n = coded.end - coded.begin;
      symbols += PartBegin(n, s + 1, streams_) - PartBegin(n, s, streams_);
    }
    const size_t room = symbols * kMaxSymbolBytes + kStateBytes;
    if (stream_[s].buffer.size() < room) stream_[s].buffer.resize(room);
    stream_[s].writer = Writer{kLowerBound, stream_[s].buffer.data() + stream_[s].buffer.size()};
  }
  RunStreams(streams_, coded_.empty() ? 0 : coded_.back().end, [this](int s) { Write(s); });
  return Merge();
}

void Encoder::Gather(const std::vector<Segment>& segments) {
  size_t total = 0;
  for (const Segment& segment : segments) total += segment.indexes.size;
  if (entries_.size() < total) entries_.resize(total);
  coded_.clear();
  size_t used = 0;
  for (const Segment& segment : segments) {
    const int8_t* symbols = segment.symbols;
    const auto pack = [symbols](uint32_t row, size_t i) { return row << 8 | static_cast<uint8_t>(symbols[i]); };
    const Compacted compact = Compact(segment.indexes, 0, segment.indexes.size, entries_.data() + used, pack);
    if (compact.count > 0 && compact.last >= segment.table->rows()) {
      throw std::out_of_range("an index leads to row " + std::to_string(compact.last) + ", the table has " +
                              std::to_string(segment.table->rows()) + " rows");
    }
    coded_.push_back({segment.table, used, used + compact.count});
    used += compact.count;
  }
}

void Encoder::Write(int stream) noexcept {
  Writer w = stream_[stream].writer;
  bool any = false;
  for (auto coded = coded_.rbegin(); coded != coded_.rend(); ++coded) {
    const size_t n = coded->end - coded->begin;
    const uint32_t* begin = entries_.data() + coded->begin + PartBegin(n, stream, streams_);
    const uint32_t* entry = entries_.data() + coded->begin + PartBegin(n, stream + 1, streams_);
    any |= entry != begin;
    while (entry != begin) {
      --entry;
      w = PutSymbol(w, *coded->table, *entry >> 8, static_cast<int8_t>(*entry & 0xff));
    }
  }
  stream_[stream].writer = any ? PutState(w) : w;
}

std::vector<uint8_t> Encoder::Merge() const {
  std::vector<uint8_t> payload(stream_[0].begin(), stream_[0].end());
  if (streams_ == 2) {
    const uint8_t* begin = stream_[1].begin();
    const uint8_t* end = stream_[1].end();
    end -= SharedBytes(stream_[0].begin(), stream_[0].end(), begin, end);
    payload.insert(payload.end(), std::make_reverse_iterator(end), std::make_reverse_iterator(begin));
  }
  return payload;
}

Decoder::Decoder(const uint8_t* data, size_t size, int streams) : streams_(CheckStreams(streams)), size_(size) {
  for (int s = 0; s < streams_; ++s) {
    std::vector<uint8_t>& bytes = stream_[s].bytes;
    bytes.resize(size + kBlockSymbols * kMaxSymbolReads);
    if (s == 0) {
      std::copy_n(data, size, bytes.begin());
    } else {
      std::reverse_copy(data, data + size, bytes.begin());
    }
    stream_[s].reader.pos = bytes.data();
  }
}

Status Decoder::Decode(const CdfTable& table, const Indexes& indexes, int8_t* symbols) {
  const std::lock_guard<std::mutex> lock(mutex_);
  const size_t half = streams_ == 2 ? Half(indexes) : indexes.size;
  RunStreams(streams_, indexes.size, [&](int s) {
    const size_t begin = s == 0 ? 0 : half;
    const size_t end = s == 0 ? half : indexes.size;
    if (stream_[s].status == Status::kOk) stream_[s].status = Read(&stream_[s], table, indexes, begin, end, symbols);
  });
  return FirstFault();
}

Status Decoder::Read(Stream* stream, const CdfTable& table, const Indexes& indexes, size_t begin, size_t end,
                     int8_t* symbols) const noexcept {
  const uint8_t* data_end = stream->bytes.data() + size_;
  uint32_t rows[kBlockSymbols];
  int8_t compact[kBlockSymbols + 1] = {};
  Reader r = stream->reader;
  bool fault = false;
  for (; begin < end; begin += kBlockSymbols) {
    const size_t stop = std::min(end, begin + kBlockSymbols);
    const auto [count, last_row] = Compact(indexes, begin, stop, rows, [](uint32_t row, size_t) { return row; });
    if (count > 0) {
      if (last_row >= table.rows()) return Status::kBadIndex;
      if (r.pos == stream->bytes.data()) r = GetState(r);
      if (r.pos > data_end) return Status::kTruncated;
      if (!IsValidState(r.state)) return Status::kBadSymbol;
      for (size_t i = 0; i < count; ++i) r = GetSymbol(r, table, rows[i], compact + i, &fault);
      if (r.pos > data_end) return Status::kTruncated;
      if (fault) return Status::kBadSymbol;
    }
    Spread(indexes, begin, stop, compact, symbols);
  }
  stream->reader = r;
  return Status::kOk;
}

Status Decoder::FirstFault() const noexcept {
  for (const Stream& stream : stream_) {
    if (stream.status != Status::kOk) return stream.status;
  }
  return Status::kOk;
}

Status Decoder::Finish() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (FirstFault() != Status::kOk) return FirstFault();
  size_t consumed = 0;
  for (int s = 0; s < streams_; ++s) {
    if (stream_[s].reader.state != kLowerBound) return Status::kBadEnd;
    consumed += static_cast<size_t>(stream_[s].reader.pos - stream_[s].bytes.data());
  }
  if (streams_ == 2) {
    consumed -= SharedBytes(stream_[0].bytes.data(), stream_[0].reader.pos, stream_[1].bytes.data(),
                            stream_[1].reader.pos);
  }
  return consumed == size_ ? Status::kOk : Status::kBadEnd;
}

}  // namespace nvc::dcvc
