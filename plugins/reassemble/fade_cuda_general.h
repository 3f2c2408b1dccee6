// The kernel for every type, K, s, group and term: multiply and add in float32.
//
// A thread owns one decoder pixel and `Outputs::kRows x Outputs::kColumns` output pixels under it.
// These share their K x K source pixels, so a thread holds the tap weights of its outputs in
// registers and goes through the channels. The decoder's pixels of a block, with those around them
// and zeros outside the image, are staged in shared memory as float32, four channels beside each
// other: one 16-byte read serves 4 * kOutputs multiplications, and no tap is checked against the
// image. The next four channels travel into registers while these are multiplied.
//
// A thread takes kHeld channels to their end before it takes the next. With several terms the weights
// are computed again for each kHeld channels, because those of all terms fit no register file, and
// sums must not be rounded in between: so kHeld is then as large as the registers allow where it
// matters (K = 5, s = 2 in float32), else four.
#pragma once

#include "fade_cuda_weights.h"

namespace fade::cuda {

// The output pixels of a thread. Their K*K weights each live in registers, of which a thread has
// 255: at most 100.
template <int32_t K, int32_t S>
struct Outputs {
  static constexpr int32_t kColumns = K == 7 && S == 4 ? 2 : S;
  static constexpr int32_t kRows = S == 2 && K != 7 ? 2 : 1;
  static constexpr int32_t kCount = kRows * kColumns;
  static constexpr int32_t kParts = S * S / kCount;  // threads that share a decoder pixel
  static constexpr int32_t kAcross = S / kColumns;   // of these, side by side
  static_assert(K * K * kCount <= 100, "too many registers");
};

struct alignas(16) FourFloats {
  float values[4];
};

template <typename Machine, typename T, int32_t K, int32_t S, int32_t kHeldChannels>
struct General {
  using Of = Outputs<K, S>;
  static constexpr int32_t kTaps = K * K, kRadius = K / 2;
  static constexpr int32_t kTileX = 32, kTileY = 4, kThreads = kTileX * kTileY;
  static constexpr int32_t kColumns = kTileX + K - 1, kPixels = kColumns * (kTileY + K - 1);
  static constexpr int32_t kStaged = 4, kHeld = kHeldChannels;  // channels
  static constexpr int32_t kRounds = (kPixels + kThreads - 1) / kThreads;
  // Of a multiprocessor, at least, by the registers that the weights take.
  static constexpr int32_t kBlocks = kTaps * Of::kCount > 40 ? 2 : kTaps * Of::kCount > 30 ? 3 : 4;
  static constexpr int32_t kSharedBytes = 2 * kPixels * int32_t{sizeof(FourFloats)};
  // The registers that 16 channels take leave none for their encoder; several terms have none.
  static constexpr bool kHasEncoder = kHeld == kStaged;

  static Division division() { return {kTileX, kTileY, Of::kParts, kHeld, 1024}; }
  static bool isAligned(Work const& work) {
    int64_t const element = sizeof(T);
    return rowsAreAligned(work, element, element * Of::kColumns);
  }

  Machine& machine;
  Work const& work;
  UpsampleArguments const& a;
  Block const& block;
  bool hasAlignedRows;
  FourFloats* shared;
  int32_t x, y, outX, outY, threadX, threadY;
  int64_t plane;
  int64_t source[kRounds];  // of this thread's staged pixels in a plane; negative: outside
  T pending[kRounds][kStaged];
  float weights[Of::kCount][kTaps];

  FADE_DEVICE General(Machine& on, Work const& todo, Block const& where, bool areRowsAligned,
                      void* memory)
      : machine(on), work(todo), a(todo.arguments), block(where), hasAlignedRows(areRowsAligned),
        shared(static_cast<FourFloats*>(memory)) {
    threadX = machine.thread() % kTileX;
    threadY = machine.thread() / kTileX;
    x = block.x + threadX;
    y = block.y + threadY;
    outX = x * S + block.part % Of::kAcross * Of::kColumns;
    outY = y * S + block.part / Of::kAcross * Of::kRows;
    plane = a.height * a.width;
    FADE_UNROLL
    for (int32_t i = 0; i < kRounds; ++i) {
      int32_t const pixel = machine.thread() + i * kThreads;
      int32_t const sourceX = block.x + pixel % kColumns - kRadius;
      int32_t const sourceY = block.y + pixel / kColumns - kRadius;
      bool const isInside = sourceX >= 0 && sourceX < a.width && sourceY >= 0 &&
                            sourceY < a.height && pixel < kPixels;
      source[i] = isInside ? sourceY * a.width + sourceX : -1;
    }
  }

  FADE_DEVICE bool isInside() const { return x < a.width && y < a.height; }

  // Reads the decoder's channels c .. c + 3 of term t into registers, zeros where there is nothing.
  FADE_DEVICE void fetch(int32_t c, int32_t t) {
    T const* const from =
        static_cast<T const*>(a.decoder) + ((block.n * a.terms + t) * a.channels + c) * plane;
    FADE_UNROLL
    for (int32_t i = 0; i < kRounds; ++i) {
      FADE_UNROLL
      for (int32_t channel = 0; channel < kStaged; ++channel) {
        bool const isThere = source[i] >= 0 && c + channel < block.lastChannel;
        Machine::store(&pending[i][channel], 0.0f);
        if (isThere) pending[i][channel] = from[channel * plane + source[i]];
      }
    }
  }

  // Puts what was fetched into one of the two halves of shared memory.
  FADE_DEVICE void stage(int32_t half) {
    FADE_UNROLL
    for (int32_t i = 0; i < kRounds; ++i) {
      int32_t const pixel = machine.thread() + i * kThreads;
      FourFloats four;
      FADE_UNROLL
      for (int32_t c = 0; c < kStaged; ++c) four.values[c] = Machine::toFloat(pending[i][c]);
      if (pixel < kPixels) shared[half * kPixels + pixel] = four;
    }
  }

  // sums[channel] += R(decoder, weights) of the staged channels.
  FADE_DEVICE void add(int32_t half, float (*sums)[Of::kCount]) const {
    FourFloats const* const corner = shared + half * kPixels + threadY * kColumns + threadX;
    FADE_UNROLL
    for (int32_t i = 0; i < K; ++i) {
      FADE_UNROLL
      for (int32_t j = 0; j < K; ++j) {
        FourFloats const four = corner[i * kColumns + j];
        FADE_UNROLL
        for (int32_t c = 0; c < kStaged; ++c) {
          FADE_UNROLL
          for (int32_t o = 0; o < Of::kCount; ++o) {
            sums[c][o] += weights[o][i * K + j] * four.values[c];
          }
        }
      }
    }
  }

  // One row of the thread's outputs of an addend, as stored; zeros without one.
  using Row = Pack<T, Of::kColumns>;
  FADE_DEVICE void load(Addend const& addend, int32_t c, int32_t row, Row& values) const {
    FADE_UNROLL
    for (int32_t i = 0; i < Of::kColumns; ++i) Machine::store(&values.values[i], 0.0f);
    if (addend.data == nullptr) return;
    T const* const from = static_cast<T const*>(addend.data) + block.n * addend.strides[0] +
                          c * addend.strides[1] + (outY + row) * addend.strides[2];
    if (addend.strides[3] != 0) {
      loadRow(from + outX, hasAlignedRows, values);
    } else {
      FADE_UNROLL
      for (int32_t i = 0; i < Of::kColumns; ++i) values.values[i] = *from;
    }
  }
  FADE_DEVICE void loadFirst(int32_t c, Row (&first)[Of::kRows]) const {
    FADE_UNROLL
    for (int32_t row = 0; row < Of::kRows; ++row) load(work.addends[0], c, row, first[row]);
  }

  FADE_DEVICE void finish(int32_t c, float gate, float const (&sums)[Of::kCount],
                          Row const (&first)[Of::kRows]) const {
    int64_t const outWidth = a.width * S;
    FADE_UNROLL
    for (int32_t row = 0; row < Of::kRows; ++row) {
      Row second, result;
      load(work.addends[1], c, row, second);
      FADE_UNROLL
      for (int32_t i = 0; i < Of::kColumns; ++i) {
        Machine::store(&result.values[i], sums[row * Of::kColumns + i] +
                                              gate * Machine::toFloat(first[row].values[i]) +
                                              Machine::toFloat(second.values[i]));
      }
      int64_t const line = (block.n * a.channels + c) * a.height * S + outY + row;
      storeRow(static_cast<T*>(a.output) + line * outWidth + outX, hasAlignedRows, result);
    }
  }

  // All channels of the block, by all of its threads together.
  FADE_DEVICE void run() {
    float const gate = isInside() ? gateAt<Machine, T>(a, block.n, x, y) : 0;
    fetch(block.firstChannel, 0);
    stage(0);
    int32_t half = 0;
    for (int32_t c = block.firstChannel; c < block.lastChannel; c += kHeld) {
      Row first[kHasEncoder ? kHeld : 1][Of::kRows];
      if (kHasEncoder && isInside()) {
        FADE_UNROLL
        for (int32_t i = 0; i < kHeld; ++i) {
          if (kHasEncoder && c + i < block.lastChannel) {
            loadFirst(c + i, first[kHasEncoder ? i : 0]);
          }
        }
      }
      float sums[kHeld][Of::kCount] = {};
      for (int32_t t = 0; t < a.terms; ++t) {
        if (isInside() && (a.terms > 1 || c == block.firstChannel)) {
          tapWeights<Machine, T, kTaps, Of::kRows, Of::kColumns>(a, block, t, x, y, outX, outY,
                                                                 hasAlignedRows, weights);
        }
        FADE_UNROLL
        for (int32_t i = 0; i < kHeld; i += kStaged) {
          machine.sync();  // what was staged is there, and the other half no longer read
          if (i + kStaged < kHeld) {
            fetch(c + i + kStaged, t);
          } else if (t + 1 < a.terms) {
            fetch(c, t + 1);
          } else {
            fetch(c + kHeld, 0);
          }
          if (isInside()) add(half, &sums[i]);
          half ^= 1;
          stage(half);
        }
      }
      if (!isInside()) continue;
      FADE_UNROLL
      for (int32_t i = 0; i < kHeld; ++i) {
        if (c + i >= block.lastChannel) break;
        if (!kHasEncoder) loadFirst(c + i, first[0]);
        finish(c + i, gate, sums[i], first[kHasEncoder ? i : 0]);
      }
    }
  }
};

}  // namespace fade::cuda
