// What a launch of a CUDA kernel computes and how it is divided into blocks: plain numbers, the
// same for the GPU and for the emulation on the CPU (plugins/tests/cuda_emulation.h).
#pragma once

#include <algorithm>
#include <cstdint>

#include "fade_cpu.h"

// Functions of a kernel. The emulation compiles them for the CPU.
#ifdef __CUDACC__
#define FADE_DEVICE __device__ __forceinline__
#define FADE_UNROLL _Pragma("unroll")
#else
#define FADE_DEVICE inline
#define FADE_UNROLL
#endif

namespace fade::cuda {

// What is added to the reassembly: the encoder or a base.
struct Addend {
  void const* data = nullptr;  // null: nothing
  int64_t strides[4] = {};     // in elements, 0 where broadcast; the last is 0 or 1
};

// output = gate * addends[0] + addends[1] + sum_t w_t * R(decoder_t, k_t); the gate is 1 where
// there is no encoder.
struct Work {
  UpsampleArguments arguments;
  Addend addends[2];  // of the encoder and the base, those that are there
  // Whether 8 outputs of a row are one access of 16 bytes in kernels, output and addends, and the 4
  // pixels under them one of 8 bytes in the decoder, in 16-bit storage.
  bool hasWideRows;
};

// Whether each row of `columns` elements starts at a multiple of `bytes`.
inline bool areAligned(void const* data, int64_t columns, int64_t element, int64_t bytes) {
  return reinterpret_cast<uintptr_t>(data) % static_cast<uintptr_t>(bytes) == 0 &&
         columns * element % bytes == 0;
}

inline bool areAligned(Addend const& addend, int64_t element, int64_t bytes) {
  if (addend.data == nullptr || addend.strides[3] == 0) return true;  // read as single elements
  auto const isMultiple = [&](int64_t stride) { return stride * element % bytes == 0; };
  return areAligned(addend.data, 0, element, bytes) && isMultiple(addend.strides[0]) &&
         isMultiple(addend.strides[1]) && isMultiple(addend.strides[2]);
}

// Whether kernels, output and addends may be read and written in packs of `bytes` along x.
inline bool rowsAreAligned(Work const& work, int64_t element, int64_t bytes) {
  UpsampleArguments const& a = work.arguments;
  int64_t const columns = a.width * a.scale;
  return areAligned(a.kernels, columns, element, bytes) &&
         areAligned(a.output, columns, element, bytes) &&
         areAligned(work.addends[0], element, bytes) && areAligned(work.addends[1], element, bytes);
}

inline Work workOf(UpsampleArguments const& a) {
  Work work{};
  work.arguments = a;
  Addend base;
  base.data = a.base;
  std::copy(a.baseStrides, a.baseStrides + 4, base.strides);
  if (a.encoder != nullptr) {
    int64_t const width = a.width * a.scale, plane = a.height * a.scale * width;
    work.addends[0].data = a.encoder;
    int64_t const strides[4] = {a.channels * plane, plane, width, 1};
    std::copy(strides, strides + 4, work.addends[0].strides);
    work.addends[1] = base;
  } else {
    work.addends[0] = base;
  }
  work.hasWideRows = rowsAreAligned(work, 2, 16) && areAligned(a.decoder, a.width, 2, 8);
  return work;
}

// How a kernel wants a launch divided.
struct Division {
  int32_t tileX, tileY;  // decoder pixels of a block
  int32_t parts;         // blocks that share a tile, for different outputs under it
  int32_t channelStep;   // channels that a block takes at once
  int64_t enoughBlocks;  // fewer leave multiprocessors idle, so channels are divided among blocks
};

struct Grid {
  Division division;
  int64_t tilesX, tilesY;
  int64_t chunks;  // blocks that share the channels of a group
  int64_t channelsPerChunk;
  int64_t blocks;  // of the whole launch
};

inline int64_t quotientUp(int64_t value, int64_t by) { return (value + by - 1) / by; }

inline Grid gridFor(UpsampleArguments const& a, Division const& division) {
  Grid grid{};
  grid.division = division;
  grid.tilesX = quotientUp(a.width, division.tileX);
  grid.tilesY = quotientUp(a.height, division.tileY);
  int64_t const channels = a.channels / a.groups;
  int64_t const others = grid.tilesX * grid.tilesY * division.parts * a.groups * a.batch;
  int64_t const steps = quotientUp(channels, division.channelStep);
  int64_t const wanted = std::min(steps, quotientUp(division.enoughBlocks, others));
  grid.channelsPerChunk = quotientUp(steps, wanted) * division.channelStep;
  grid.chunks = quotientUp(channels, grid.channelsPerChunk);
  grid.blocks = others * grid.chunks;
  return grid;
}

// Where a block works. Blocks that differ in their channels alone follow each other and find the
// logits in the L2 cache.
struct Block {
  int64_t n, group;
  int32_t firstChannel, lastChannel;  // of the output, last excluded
  int32_t x, y;                       // the first decoder pixel
  int32_t part;
};

FADE_DEVICE Block blockAt(UpsampleArguments const& a, Grid const& grid, int64_t index) {
  Block block{};
  int64_t const chunk = index % grid.chunks;
  index /= grid.chunks;
  block.part = static_cast<int32_t>(index % grid.division.parts);
  index /= grid.division.parts;
  block.x = static_cast<int32_t>(index % grid.tilesX) * grid.division.tileX;
  index /= grid.tilesX;
  block.y = static_cast<int32_t>(index % grid.tilesY) * grid.division.tileY;
  index /= grid.tilesY;
  block.group = index % a.groups;
  block.n = index / a.groups;
  int64_t const channels = a.channels / a.groups;
  int64_t const first = chunk * grid.channelsPerChunk;
  int64_t const last = first + grid.channelsPerChunk;
  block.firstChannel = static_cast<int32_t>(block.group * channels + first);
  block.lastChannel =
      static_cast<int32_t>(block.group * channels + (last < channels ? last : channels));
  return block;
}

// Whether the arguments are what the contract allows.
inline bool isValid(UpsampleArguments const& a) {
  // Times the scale, and with the rest of a tile or step beyond it, a dimension still has 32 bits.
  constexpr int64_t kLongestSide = INT32_MAX / 4 - 64;
  if (a.height > kLongestSide || a.width > kLongestSide || a.channels > kLongestSide) return false;
  bool const hasSizes = a.batch >= 0 && a.channels >= 0 && a.height >= 0 && a.width >= 0 &&
                        a.groups >= 1 && a.terms >= 1;
  bool const isOffered = (a.kernelSize == 1 || a.kernelSize == 3 || a.kernelSize == 5 ||
                          a.kernelSize == 7) &&
                         (a.scale == 1 || a.scale == 2 || a.scale == 4);
  if (!hasSizes || !isOffered || a.channels % a.groups != 0) return false;
  if (a.batch == 0 || a.channels == 0 || a.height == 0 || a.width == 0) return true;
  bool const hasTensors = a.decoder != nullptr && a.kernels != nullptr && a.output != nullptr;
  bool const hasWeight = a.weightKind == DecoderWeight::kOne || a.weight != nullptr;
  bool const gatesEncoder =
      a.encoder == nullptr || (a.weightKind == DecoderWeight::kOneMinusSigmoid && a.terms == 1);
  bool const addsLogits = a.decoderLogits == nullptr || (a.softmax && a.groups == 1);
  return hasTensors && hasWeight && gatesEncoder && addsLogits;
}

}  // namespace fade::cuda
