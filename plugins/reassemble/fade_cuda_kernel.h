// What one thread of the CUDA kernel does, and how threads are numbered: plain functions of indices
// and pointers, so that plugins/tests/cuda_kernel_test.cpp runs every block and thread of a launch
// on the CPU.
//
// A thread owns one decoder pixel and `Shape::kRows x Shape::kColumns` output pixels under it.
// These share their K x K source pixels, so a thread holds the tap weights of its outputs in
// registers and then goes through the channels: K*K loads of the decoder, which neighbours find in
// the L1 cache, serve all of its outputs. Threads of a warp are neighbours in x, so every tensor is
// read and written in rows.
#pragma once

#include <cmath>
#include <cstdint>

#include "fade_cpu.h"

#ifdef __CUDACC__
#define FADE_DEVICE __host__ __device__ __forceinline__
#else
#define FADE_DEVICE inline
#endif
#ifdef __CUDA_ARCH__
#define FADE_UNROLL _Pragma("unroll")
#else
#define FADE_UNROLL
#endif

namespace fade::cuda {

// Threads of a block: decoder pixels across, and rows of them.
inline constexpr int32_t kThreadsX = 32, kThreadsY = 4;
// A launch of fewer blocks than this leaves multiprocessors idle at its end: the largest GPU has
// about 150, each holds a few blocks. So channels are divided among blocks until there are as many.
inline constexpr int64_t kEnoughBlocks = 2048;
// Of a block: below, computing the weights costs more than using them.
inline constexpr int64_t kFewestChannels = 8;

// The output pixels of a thread. Their K*K weights each live in registers, of which a thread has
// 255: at most 100. With several terms they are computed again for each channel, which only pays
// where they are few.
template <int32_t K, int32_t S, bool kIsSeveral>
struct Shape {
  static constexpr int32_t kTaps = K * K;
  static constexpr int32_t kColumns = kIsSeveral ? 1 : K == 7 && S == 4 ? 2 : S;
  static constexpr int32_t kRows = !kIsSeveral && S == 2 && K != 7 ? 2 : 1;
  static constexpr int32_t kOutputs = kRows * kColumns;
  static constexpr int32_t kParts = S * S / kOutputs;  // threads that share a decoder pixel
  static_assert(kTaps * kOutputs <= 100, "too many registers");
};

// How a launch is divided into blocks.
struct Grid {
  int64_t tilesX, tilesY;  // of decoder pixels, kThreadsX x kThreadsY each
  int64_t parts;           // Shape::kParts
  int64_t chunks;          // blocks that share the channels of a group
  int64_t channelsPerChunk;
  int64_t blocks;  // of the whole launch
};

inline Grid gridFor(UpsampleArguments const& a, int32_t parts) {
  Grid grid{};
  grid.tilesX = (a.width + kThreadsX - 1) / kThreadsX;
  grid.tilesY = (a.height + kThreadsY - 1) / kThreadsY;
  grid.parts = parts;
  int64_t const channels = a.channels / a.groups;
  int64_t const others = grid.tilesX * grid.tilesY * parts * a.groups * a.batch;
  grid.channelsPerChunk = channels;
  while (others * ((channels + grid.channelsPerChunk - 1) / grid.channelsPerChunk) <
             kEnoughBlocks &&
         grid.channelsPerChunk > kFewestChannels) {
    grid.channelsPerChunk = (grid.channelsPerChunk + 1) / 2;
  }
  grid.chunks = (channels + grid.channelsPerChunk - 1) / grid.channelsPerChunk;
  grid.blocks = others * grid.chunks;
  return grid;
}

// Where a block works. Blocks that differ in their channels alone follow each other and find the
// logits in the L2 cache.
struct Block {
  int64_t n, group, firstChannel, lastChannel;  // channels of the output, last excluded
  int32_t x, y;                                 // the first decoder pixel
  int32_t part;
};

FADE_DEVICE Block blockAt(UpsampleArguments const& a, Grid const& grid, int64_t index) {
  Block block{};
  int64_t const chunk = index % grid.chunks;
  index /= grid.chunks;
  block.part = static_cast<int32_t>(index % grid.parts);
  index /= grid.parts;
  block.x = static_cast<int32_t>(index % grid.tilesX) * kThreadsX;
  index /= grid.tilesX;
  block.y = static_cast<int32_t>(index % grid.tilesY) * kThreadsY;
  index /= grid.tilesY;
  block.group = index % a.groups;
  block.n = index / a.groups;
  int64_t const channels = a.channels / a.groups;
  int64_t const first = chunk * grid.channelsPerChunk;
  int64_t const last = first + grid.channelsPerChunk;
  block.firstChannel = block.group * channels + first;
  block.lastChannel = block.group * channels + (last < channels ? last : channels);
  return block;
}

// Storage as float; the overloads for half precision are where those types are.
FADE_DEVICE float toFloat(float value) { return value; }
FADE_DEVICE void store(float* to, float value) { *to = value; }

FADE_DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// Adjacent elements in one access where their address allows, which the launch has found out.
template <typename T, int32_t N>
struct alignas(sizeof(T) * N) Pack {
  T values[N];
};

template <typename T, int32_t N>
FADE_DEVICE void loadRow(T const* from, bool isAligned, float (&to)[N]) {
  if (isAligned) {
    Pack<T, N> const pack = *reinterpret_cast<Pack<T, N> const*>(from);
    FADE_UNROLL
    for (int32_t i = 0; i < N; ++i) to[i] = toFloat(pack.values[i]);
  } else {
    FADE_UNROLL
    for (int32_t i = 0; i < N; ++i) to[i] = toFloat(from[i]);
  }
}

template <typename T, int32_t N>
FADE_DEVICE void storeRow(T* to, bool isAligned, float const (&from)[N]) {
  if (isAligned) {
    Pack<T, N> pack;
    FADE_UNROLL
    for (int32_t i = 0; i < N; ++i) store(&pack.values[i], from[i]);
    *reinterpret_cast<Pack<T, N>*>(to) = pack;
  } else {
    FADE_UNROLL
    for (int32_t i = 0; i < N; ++i) store(&to[i], from[i]);
  }
}

// One thread: a decoder pixel (x, y) of image n and its outputs, whose first is (outX, outY).
template <typename T, int32_t K, int32_t S, bool kIsSeveral>
struct Thread {
  using Of = Shape<K, S, kIsSeveral>;
  static constexpr int32_t kRadius = K / 2;

  UpsampleArguments const& a;
  Block const& block;
  bool isAligned;            // whether a row of outputs is one access
  int32_t x, y, outX, outY;  // a side fits 32 bits, nothing else need do
  int64_t plane, outPlane;
  int32_t outWidth;
  float weights[Of::kOutputs][Of::kTaps];
  float encoderWeight;

  FADE_DEVICE Thread(UpsampleArguments const& arguments, Block const& where, bool aligned,
                     int32_t threadX, int32_t threadY)
      : a(arguments), block(where), isAligned(aligned), x(where.x + threadX), y(where.y + threadY) {
    plane = a.height * a.width;
    outPlane = plane * S * S;
    outWidth = static_cast<int32_t>(a.width) * S;
    constexpr int32_t kAcross = S / Of::kColumns;  // parts side by side
    outX = x * S + block.part % kAcross * Of::kColumns;
    outY = y * S + block.part / kAcross * Of::kRows;
    encoderWeight = 1;
  }

  FADE_DEVICE bool isInside() const { return x < a.width && y < a.height; }

  FADE_DEVICE static T const* tensor(void const* data) { return static_cast<T const*>(data); }

  // The tap weights of term t: softmax over the taps, times the weight of the reassembly.
  FADE_DEVICE void weigh(int64_t t) {
    int64_t const lane = (block.n * a.terms + t) * a.groups + block.group;
    T const* const kernels =
        tensor(a.kernels) + lane * Of::kTaps * outPlane + int64_t{outY} * outWidth + outX;
    FADE_UNROLL
    for (int32_t tap = 0; tap < Of::kTaps; ++tap) {
      FADE_UNROLL
      for (int32_t row = 0; row < Of::kRows; ++row) {
        float values[Of::kColumns];
        loadRow<T, Of::kColumns>(kernels + tap * outPlane + row * outWidth, isAligned, values);
        FADE_UNROLL
        for (int32_t i = 0; i < Of::kColumns; ++i) weights[row * Of::kColumns + i][tap] = values[i];
      }
    }
    if (a.decoderLogits != nullptr) {
      T const* const logits =
          tensor(a.decoderLogits) + (block.n * a.terms + t) * Of::kTaps * plane + y * a.width + x;
      FADE_UNROLL
      for (int32_t tap = 0; tap < Of::kTaps; ++tap) {
        float const value = toFloat(logits[tap * plane]);
        FADE_UNROLL
        for (int32_t i = 0; i < Of::kOutputs; ++i) weights[i][tap] += value;
      }
    }
    float const share = shareOfDecoder(t);
    FADE_UNROLL
    for (int32_t i = 0; i < Of::kOutputs; ++i) {
      float factor = share;
      if (a.softmax) factor = share / exponentiate(weights[i]);
      FADE_UNROLL
      for (int32_t tap = 0; tap < Of::kTaps; ++tap) weights[i][tap] *= factor;
    }
  }

  // exp(logit - largest) in place; their sum.
  FADE_DEVICE static float exponentiate(float (&logits)[Of::kTaps]) {
    float largest = logits[0];
    FADE_UNROLL
    for (int32_t tap = 1; tap < Of::kTaps; ++tap) largest = fmaxf(largest, logits[tap]);
    float sum = 0;
    FADE_UNROLL
    for (int32_t tap = 0; tap < Of::kTaps; ++tap) {
      logits[tap] = expf(logits[tap] - largest);
      sum += logits[tap];
    }
    return sum;
  }

  // w_t of the decoder pixel; remembers the gate for the encoder.
  FADE_DEVICE float shareOfDecoder(int64_t t) {
    if (a.weightKind == DecoderWeight::kOne) return 1;
    float const weight =
        toFloat(tensor(a.weight)[(block.n * a.terms + t) * plane + y * a.width + x]);
    if (a.weightKind == DecoderWeight::kGiven) return weight;
    encoderWeight = sigmoid(weight);
    return sigmoid(-weight);  // 1 - sigmoid(weight), without cancellation
  }

  // What is there before any reassembly is added: encoder and base of channel c.
  FADE_DEVICE void begin(int64_t c, float (&sums)[Of::kOutputs]) const {
    FADE_UNROLL
    for (int32_t row = 0; row < Of::kRows; ++row) {
      float values[Of::kColumns] = {};
      if (a.encoder != nullptr) {
        loadRow<T, Of::kColumns>(tensor(a.encoder) + outputIndex(c, row), isAligned, values);
      }
      FADE_UNROLL
      for (int32_t i = 0; i < Of::kColumns; ++i) {
        float sum = encoderWeight * values[i];
        if (a.base != nullptr) {
          sum += toFloat(
              tensor(a.base)[block.n * a.baseStrides[0] + c * a.baseStrides[1] +
                             (outY + row) * a.baseStrides[2] + (outX + i) * a.baseStrides[3]]);
        }
        sums[row * Of::kColumns + i] = sum;
      }
    }
  }

  // sums += R(decoder_t, weights) of channel c.
  FADE_DEVICE void add(int64_t t, int64_t c, float (&sums)[Of::kOutputs]) const {
    T const* const centre =
        tensor(a.decoder) + ((block.n * a.terms + t) * a.channels + c) * plane + y * a.width + x;
    FADE_UNROLL
    for (int32_t i = 0; i < K; ++i) {
      int32_t const sourceY = y + i - kRadius;
      bool const hasRow = sourceY >= 0 && sourceY < a.height;
      FADE_UNROLL
      for (int32_t j = 0; j < K; ++j) {
        int32_t const sourceX = x + j - kRadius;
        float value = 0;  // outside the image
        if (hasRow && sourceX >= 0 && sourceX < a.width) {
          value = toFloat(centre[(i - kRadius) * a.width + (j - kRadius)]);
        }
        FADE_UNROLL
        for (int32_t o = 0; o < Of::kOutputs; ++o) sums[o] += weights[o][i * K + j] * value;
      }
    }
  }

  FADE_DEVICE void finish(int64_t c, float const (&sums)[Of::kOutputs]) const {
    FADE_UNROLL
    for (int32_t row = 0; row < Of::kRows; ++row) {
      float values[Of::kColumns];
      FADE_UNROLL
      for (int32_t i = 0; i < Of::kColumns; ++i) values[i] = sums[row * Of::kColumns + i];
      storeRow<T, Of::kColumns>(static_cast<T*>(a.output) + outputIndex(c, row), isAligned, values);
    }
  }

  FADE_DEVICE int64_t outputIndex(int64_t c, int32_t row) const {
    return (block.n * a.channels + c) * outPlane + int64_t{outY + row} * outWidth + outX;
  }

  // All channels of the block.
  FADE_DEVICE void run() {
    if (!isInside()) return;
    if (!kIsSeveral) weigh(0);
    for (int64_t c = block.firstChannel; c < block.lastChannel; ++c) {
      float sums[Of::kOutputs];
      begin(c, sums);
      if (kIsSeveral) {
        for (int64_t t = 0; t < a.terms; ++t) {
          weigh(t);
          add(t, c, sums);
        }
      } else {
        add(0, c, sums);
      }
      finish(c, sums);
    }
  }
};

// Whether the pack of `columns` elements at every row of encoder, kernels and output starts at a
// multiple of its size: rows do where the first one does, because their length is a multiple of s.
inline bool rowsAreAligned(UpsampleArguments const& a, int64_t bytes) {
  auto const address = [](void const* data) { return reinterpret_cast<uintptr_t>(data); };
  return (address(a.kernels) | address(a.encoder) | address(a.output)) %
             static_cast<uintptr_t>(bytes) ==
         0;
}

// Whether the arguments are what the contract allows.
inline bool isValid(UpsampleArguments const& a) {
  // Times the scale, and with the rest of a tile beyond it, a side still has 32 bits.
  constexpr int64_t kLongestSide = INT32_MAX / 4 - kThreadsX;
  if (a.height > kLongestSide || a.width > kLongestSide) return false;
  bool const hasSizes = a.batch >= 0 && a.channels >= 0 && a.height >= 0 && a.width >= 0 &&
                        a.groups >= 1 && a.terms >= 1;
  if (!hasSizes || a.channels % a.groups != 0) return false;
  if (a.batch == 0 || a.channels == 0 || a.height == 0 || a.width == 0) return true;
  bool const hasTensors = a.decoder != nullptr && a.kernels != nullptr && a.output != nullptr;
  bool const hasWeight = a.weightKind == DecoderWeight::kOne || a.weight != nullptr;
  bool const gatesEncoder =
      a.encoder == nullptr || (a.weightKind == DecoderWeight::kOneMinusSigmoid && a.terms == 1);
  bool const addsLogits = a.decoderLogits == nullptr || (a.softmax && a.groups == 1);
  return hasTensors && hasWeight && gatesEncoder && addsLogits;
}

}  // namespace fade::cuda
