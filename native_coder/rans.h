// The rANS coder of both dialects: 32-bit state, byte renormalisation, 16-bit frequencies, 2-bit escape digits.
// Everything here is inline, noexcept and free of allocation; callers provide the room and check the latched faults.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tables.h"

namespace nvc {

inline constexpr uint32_t kLowerBound = 1u << 23;  // a state between two symbols lies in 2^23 .. 2^31 - 1
inline constexpr size_t kStateBytes = 4;           // the encoder's final state, at the start of a stream

// Most bytes that PutSymbol writes: 16 bits for a bin of frequency 1, then an escape of at most seven 2-bit digits.
inline constexpr size_t kMaxSymbolBytes = 4;
inline constexpr uint32_t kDigitBits = 2;
inline constexpr uint32_t kMaxDigit = (1u << kDigitBits) - 1;
inline constexpr uint32_t kMaxEscapeGroups = 5;  // an int8 symbol is at most 255 away from any bin: raw < 2^10

// A stream under construction, written from its last byte to its first.
struct Writer {
  uint32_t state = kLowerBound;
  uint8_t* pos = nullptr;
};

// Renormalises the state for a bin of this frequency. Requires two writable bytes before pos.
inline Writer MakeRoom(Writer w, uint32_t freq) noexcept {
  const uint32_t limit = freq << 15;
  const uint32_t bytes = uint32_t{w.state >= limit} + uint32_t{w.state >> 8 >= limit};
  w.pos[-1] = static_cast<uint8_t>(w.state);
  w.pos[-2] = static_cast<uint8_t>(w.state >> 8);
  w.pos -= bytes;
  w.state >>= 8 * bytes;
  return w;
}

inline Writer AddBin(Writer w, uint32_t quotient, uint32_t start, uint32_t freq) noexcept {
  w.state += start + quotient * (kTotal - freq);
  return w;
}

// Codes one bin. Requires two writable bytes before pos.
inline Writer PutBin(Writer w, const EncodeBin& bin) noexcept {
  w = MakeRoom(w, bin.freq);
  return AddBin(w, static_cast<uint32_t>((w.state * bin.reciprocal) >> 48), bin.start, bin.freq);
}

// PutBin without a reciprocal.
inline Writer PutBin(Writer w, uint32_t start, uint32_t freq) noexcept {
  w = MakeRoom(w, freq);
  return AddBin(w, w.state / freq, start, freq);
}

inline Writer PutDigit(Writer w, uint32_t digit) noexcept {
  if (w.state >= 1u << (31 - kDigitBits)) {
    *--w.pos = static_cast<uint8_t>(w.state);
    w.state >>= 8;
  }
  w.state = w.state << kDigitBits | digit;
  return w;
}

// The distance of an uncovered symbol from its row's range, as base-4 digits: number of digits, then the digits.
struct Escape {
  uint32_t digits;  // the first one lowest
  uint32_t count;
};

inline constexpr uint32_t kMaxRaw = 511;

// How many base-4 digits each raw value has.
struct EscapeGroups {
  constexpr EscapeGroups() {
    for (uint32_t raw = 1; raw <= kMaxRaw; ++raw) count[raw] = static_cast<uint8_t>(1 + count[raw >> kDigitBits]);
  }
  uint8_t count[kMaxRaw + 1] = {};
};
inline constexpr EscapeGroups kEscapeGroups;

// bin: symbol - offset, outside 0 .. tail - 1.
inline Escape MakeEscape(int32_t bin, int32_t tail) noexcept {
  const int32_t below = bin < 0;  // -2 * bin - 1 or 2 * (bin - tail), without a branch: the sign is a coin toss
  const uint32_t raw = static_cast<uint32_t>(2 * ((bin ^ -below) - (tail & (below - 1))) + below);
  const uint32_t groups = kEscapeGroups.count[raw];
  const uint32_t wide = groups >= kMaxDigit;
  const uint32_t digits = raw << kDigitBits | (groups - wide * kMaxDigit);
  return {digits << (wide * kDigitBits) | wide * kMaxDigit, groups + 1 + wide};
}

// The bin behind the raw value of an escape.
inline int32_t EscapedBin(uint32_t raw, int32_t tail) noexcept {
  const int32_t half = static_cast<int32_t>(raw >> 1);
  const int32_t below = static_cast<int32_t>(raw & 1);
  return (half ^ -below) + (tail & (below - 1));
}

inline Writer PutEscape(Writer w, int32_t bin, int32_t tail) noexcept {
  const Escape escape = MakeEscape(bin, tail);
  for (uint32_t i = escape.count; i-- > 0;) w = PutDigit(w, escape.digits >> (i * kDigitBits) & kMaxDigit);
  return w;
}

// Codes one symbol. Requires row < table.rows() and kMaxSymbolBytes writable bytes before pos.
inline Writer PutSymbol(Writer w, const CdfTable& table, size_t row, int8_t symbol) noexcept {
  const Row& info = table.row(row);
  int32_t bin = symbol - info.offset;
  if (static_cast<uint32_t>(bin) >= info.tail) {
    w = PutEscape(w, bin, info.tail);
    bin = info.tail;
  }
  return PutBin(w, table.bin(row, static_cast<uint32_t>(bin)));
}

// Ends a stream with its state, least significant byte first. Requires kStateBytes writable bytes before pos.
inline Writer PutState(Writer w) noexcept {
  w.pos -= kStateBytes;
  for (size_t i = 0; i < kStateBytes; ++i) w.pos[i] = static_cast<uint8_t>(w.state >> (8 * i));
  return w;
}

// A stream being read. The functions below do not look for its end: see kMaxSymbolReads.
struct Reader {
  uint32_t state = kLowerBound;
  const uint8_t* pos = nullptr;
};

// Most bytes from pos on that GetSymbol looks at: two for the bin, one for each digit of an escape.
inline constexpr size_t kMaxSymbolReads = 2 + 2 + kMaxEscapeGroups;
inline constexpr int32_t kNoBin = 1 << 16;  // no offset brings it back to int8

// Requires kStateBytes readable bytes from pos on. The result may be no valid state.
inline Reader GetState(Reader r) noexcept {
  r.state = 0;
  for (size_t i = 0; i < kStateBytes; ++i) r.state |= uint32_t{r.pos[i]} << (8 * i);
  r.pos += kStateBytes;
  return r;
}

inline bool IsValidState(uint32_t state) noexcept { return state >= kLowerBound && state < kLowerBound << 8; }

// Removes the bin of the current slot from the state, which Refill must then make valid again.
inline Reader DropBin(Reader r, uint32_t start, uint32_t freq) noexcept {
  r.state = freq * (r.state >> kPrecisionBits) + (r.state & (kTotal - 1)) - start;
  return r;
}

inline Reader Refill(Reader r) noexcept {
  const uint32_t bytes = uint32_t{r.state < kLowerBound} + uint32_t{r.state < kLowerBound >> 8};
  const uint64_t ahead = uint64_t{r.state} << 16 | uint32_t{r.pos[0]} << 8 | r.pos[1];
  r.state = static_cast<uint32_t>(ahead << (8 * bytes) >> 16);
  r.pos += bytes;
  return r;
}

inline Reader GetDigit(Reader r, uint32_t* digit) noexcept {
  *digit = r.state & kMaxDigit;
  r.state >>= kDigitBits;
  if (r.state < kLowerBound) r.state = r.state << 8 | *r.pos++;
  return r;
}

// Reads an escape code. bin: symbol - offset, or kNoBin when the code is longer than any encoder writes.
inline Reader GetEscape(Reader r, int32_t tail, int32_t* bin) noexcept {
  uint32_t digit = 0;
  uint32_t groups = 0;
  do {
    r = GetDigit(r, &digit);
    groups += digit;
  } while (digit == kMaxDigit && groups <= kMaxEscapeGroups);
  if (groups > kMaxEscapeGroups) {
    *bin = kNoBin;
    return r;
  }
  uint32_t raw = 0;
  for (uint32_t i = 0; i < groups; ++i) {
    r = GetDigit(r, &digit);
    raw |= digit << (i * kDigitBits);
  }
  *bin = EscapedBin(raw, tail);
  return r;
}

// Reads one symbol; *fault is set, and stays set, when it is no int8 value. Requires row < table.rows(), a valid
// state and kMaxSymbolReads readable bytes from pos on.
inline Reader GetSymbol(Reader r, const CdfTable& table, size_t row, int8_t* symbol, bool* fault) noexcept {
  const Row& info = table.row(row);
  const uint32_t slot = r.state & (kTotal - 1);
  // Where the table is sure, the processor predicts these two branches and need not wait for the state.
  if (slot - info.mode_start < info.mode_freq) {
    *symbol = info.mode_symbol;
    r = DropBin(r, info.mode_start, info.mode_freq);
    return r.state < kLowerBound ? Refill(r) : r;
  }
  const uint32_t* starts = table.starts(row);
  const uint32_t bin = table.FindBin(row, slot);
  r = Refill(DropBin(r, starts[bin], starts[bin + 1] - starts[bin]));
  int32_t value = static_cast<int32_t>(bin);
  if (bin == info.tail) r = GetEscape(r, info.tail, &value);
  value += info.offset;
  *symbol = static_cast<int8_t>(value);
  *fault |= *symbol != value;
  return r;
}

}  // namespace nvc
