// Damages frames of the interleaved dialect and decodes them with all kernels that the processor has, which must agree
// and cause no finding of the sanitizers. Run: mutate FRAMES [SEED]
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <random>
#include <vector>

#include "interleaved.h"
#include "tables_and_rows.h"

namespace {

using namespace fuzz;
using nvc::Status;
using nvc::interleaved::Decoder;
using nvc::interleaved::Encoder;
using Bytes = std::vector<uint8_t>;

struct Frame {
  const nvc::CdfTable* table;
  Rows rows;
  bool wide;
  size_t first_row;
  Bytes payload;
};

class Random {
 public:
  explicit Random(uint32_t seed) : engine_(seed) {}
  uint32_t operator()() { return static_cast<uint32_t>(engine_()); }

 private:
  std::mt19937 engine_;
};

size_t Below(Random& random, size_t limit) { return limit == 0 ? 0 : random() % limit; }

std::ptrdiff_t Place(Random& random, const Bytes& bytes) {
  return static_cast<std::ptrdiff_t>(Below(random, bytes.size() + 1));
}

Frame MakeFrame(const nvc::CdfTable& table, size_t count, Random& random) {
  Frame frame{&table, Rows(count, random()), random() % 4 == 0, random() % kFirstRows, {}};
  std::vector<int8_t> symbols(count);
  const uint32_t spread = 1 + random() % 12;
  const size_t calm = random() % 2 == 0 ? count / 2 : count;  // from here on mostly 0; those before earn the lanes
  for (size_t i = 0; i < count; ++i) {
    if (i < calm || random() % 64 == 0) symbols[i] = static_cast<int8_t>(static_cast<int>(random() % spread) - 4);
  }
  const std::vector<nvc::Segment> segments(2, {&table, symbols.data(), frame.rows.Get(frame.wide, frame.first_row)});
  frame.payload = Encoder(1, *nvc::AllKernels().back()).Encode(segments);
  return frame;
}

void Damage(Bytes* bytes, const Bytes& other, Random& random) {
  switch (random() % 6) {
    case 0:  // flip bits
    case 1:
      for (uint32_t i = 0; i <= random() % 4 && !bytes->empty(); ++i) {
        (*bytes)[Below(random, bytes->size())] ^= static_cast<uint8_t>(1u << random() % 8);
      }
      break;
    case 2:  // cut
      bytes->resize(Below(random, bytes->size()));
      break;
    case 3:  // splice with another frame
      bytes->erase(bytes->begin() + Place(random, *bytes), bytes->end());
      bytes->insert(bytes->end(), other.begin() + Place(random, other), other.end());
      break;
    case 4:  // another layout, huge lengths
      if (random() % 2 == 0) {
        MakeStart(bytes, random() % 6);
      } else if (bytes->size() > 9) {
        (*bytes)[0] = static_cast<uint8_t>(random());
        for (size_t i = 1; i < 5; ++i) (*bytes)[i] = random() % 2 == 0 ? 255 : static_cast<uint8_t>(random());
      }
      break;
    default:  // lose or repeat some bytes
      const std::ptrdiff_t begin = Place(random, *bytes);
      const std::ptrdiff_t end = std::min(begin + 1 + static_cast<std::ptrdiff_t>(random() % 8),
                                          static_cast<std::ptrdiff_t>(bytes->size()));
      if (begin >= end) break;
      const Bytes some(bytes->begin() + begin, bytes->begin() + end);
      random() % 2 == 0 ? bytes->erase(bytes->begin() + begin, bytes->begin() + end)
                        : bytes->insert(bytes->begin() + begin, some.begin(), some.end());
  }
}

Status Decode(Decoder* decoder, const Frame& frame, const Bytes& bytes, std::vector<int8_t>* symbols) {
  decoder->Reset(bytes.data(), bytes.size());
  const nvc::Indexes indexes = frame.rows.Get(frame.wide, frame.first_row);
  symbols->resize(indexes.size * 2);
  for (size_t i = 0; i < 2; ++i) {
    const Status status = decoder->Decode(*frame.table, indexes, symbols->data() + i * indexes.size);
    if (status != Status::kOk) return status;
  }
  return decoder->Finish();
}

}  // namespace

int main(int argc, char** argv) {
  const long frames = argc > 1 ? std::atol(argv[1]) : 1000;
  Random random(argc > 2 ? static_cast<uint32_t>(std::atol(argv[2])) : 0);
  const Tables tables;
  std::vector<Frame> seeds;
  for (const int count : {0, 1, 7, 40, 64, 100, 300, 700, 1000, 2000, 4096, 5000, 9000, 12000}) {
    for (size_t i = 0; i < 2 * kKinds; ++i) seeds.push_back(MakeFrame(tables[i], static_cast<size_t>(count), random));
  }
  const size_t small = seeds.size();
  for (size_t i = 0; i < kKinds; ++i) seeds.push_back(MakeFrame(tables[i], 60000, random));  // 32 lanes
  seeds.push_back(MakeFrame(tables[kNarrow], 400000, random));                               // several parts
  const std::vector<const nvc::Kernels*> all = nvc::AllKernels();
  Decoder portable(1, *all[0]);
  std::vector<std::unique_ptr<Decoder>> decoders;
  for (size_t i = 1; i < all.size(); ++i) decoders.push_back(std::make_unique<Decoder>(1, *all[i]));
  Decoder threaded(2, *all.back());
  std::vector<int8_t> symbols;
  std::vector<int8_t> again;
  long decoded = 0;
  for (long i = 0; i < frames; ++i) {
    // The large frames are slow, so they come seldom.
    const Frame& frame = seeds[i % 1000 == 0 ? small + Below(random, seeds.size() - small) : Below(random, small)];
    Bytes bytes = frame.payload;
    for (uint32_t k = 0; k <= random() % 2; ++k) Damage(&bytes, seeds[Below(random, small)].payload, random);
    const Status status = Decode(&portable, frame, bytes, &symbols);
    const auto check = [&](Decoder* decoder) {
      Require(Decode(decoder, frame, bytes, &again) == status && (status != Status::kOk || symbols == again));
    };
    for (const auto& decoder : decoders) check(decoder.get());
    if (i % 1000 == 0) check(&threaded);
    decoded += status == Status::kOk;
  }
  std::printf("%ld frames: %ld decoded, %ld refused\n", frames, decoded, frames - decoded);
  return 0;
}
