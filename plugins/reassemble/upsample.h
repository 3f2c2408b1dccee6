// The fused upsampler: tap weights of a tile of decoder pixels first, then all channels over them.
//
// Lanes are neighbouring decoder pixels: each loaded source vector serves the s x s output pixels of every lane, and
// the s output columns are interleaved at the end.
#pragma once

#include "kernels.h"
#include "taps.h"
#include "tensors.h"

namespace fade {
namespace FADE_LEVEL {

// How a call is cut: tiles of rows x columns decoder pixels, `slots` of them at once, each with its own scratch.
struct UpsamplePlan {
  int64_t rows, columns;      // of a tile; columns is a multiple of kLanes
  int64_t tilesDown, tilesAcross;
  int64_t slots;
  int64_t copied;             // channels that are worked on at once: a block's, whose source is copied
  int64_t pitch;              // floats between rows of the copy
  int64_t weightFloats, gateFloats, sourceFloats;  // of one slot
};

constexpr int64_t kWeightBytes = 256 * 1024;  // of a tile, so that they stay in the second-level cache
constexpr int64_t kColumns = 256;             // of a tile: long runs of memory
// Blocks from one to that whose lines are fetched meanwhile: about 400 cycles.
constexpr int64_t kBlocksAhead = kLanes == 16 ? 1 : 3;

// Channels per block, so that accumulators, sources and a weight fit the registers. More channels than a block's are
// never under way: pictures are often powers of two large, then all channels' lines meet in the same few places of the
// caches, and what was fetched ahead would be lost before it is used.
template <int kScale>
constexpr int kBlockChannels = kScale == 1 ? 8 : kRegisters == 32 ? 4 : kLanes == 8 ? 3 : 2;
template <int kScale>
constexpr int kBlockRows = kScale == 2 ? 2 : 1;  // output rows of a decoder row in one block

FADE_INLINE UpsamplePlan planUpsample(UpsampleArguments const& a, int64_t threads) {
  UpsamplePlan plan;
  int64_t const taps = a.kernelSize * a.kernelSize, subPixels = a.scale * a.scale;
  plan.columns = smaller(roundUp(a.width, kLanes), kColumns);
  plan.tilesAcross = (a.width + plan.columns - 1) / plan.columns;
  int64_t const rowBytes = plan.columns * taps * subPixels * a.terms * 4;
  plan.rows = smaller(larger(kWeightBytes / rowBytes, 1), a.height);
  // Enough tiles for every thread, but not at the price of copying each source row many times over.
  while (plan.rows > 4 && threads > 1 &&
         a.batch * plan.tilesAcross * ((a.height + plan.rows - 1) / plan.rows) < 4 * threads) {
    plan.rows = (plan.rows + 1) / 2;
  }
  plan.tilesDown = (a.height + plan.rows - 1) / plan.rows;
  plan.rows = (a.height + plan.tilesDown - 1) / plan.tilesDown;
  plan.slots = larger(smaller(threads, a.batch * plan.tilesAcross * plan.tilesDown), 1);
  plan.copied = a.scale == 1 ? kBlockChannels<1> : kBlockChannels<2>;
  plan.pitch = roundUp(plan.columns + a.kernelSize - 1, kLanes);
  plan.weightFloats = plan.rows * plan.columns * taps * subPixels * a.terms;
  plan.gateFloats = a.encoder ? plan.rows * plan.columns * a.scale : 0;
  plan.sourceFloats = plan.copied * a.terms * (plan.rows + a.kernelSize - 1) * plan.pitch + kLanes;
  return plan;
}

FADE_INLINE size_t slotBytes(UpsamplePlan const& plan) {
  return static_cast<size_t>(roundUp((plan.weightFloats + plan.gateFloats + plan.sourceFloats) * 4, kAlignment));
}

// Weights of row y of the tile: [block of kLanes pixels][term][pass][tap][row of the pass][column of s][kLanes].
template <typename T, int kSize, int kScale>
static void makeWeights(UpsampleArguments const& a, Tile const& tile, int64_t y, int64_t group, float* weights,
                        float* gate) {
  constexpr int kTaps = kSize * kSize, kRows = kBlockRows<kScale>, kAccumulators = kRows * kScale;
  constexpr int64_t kTerm = int64_t{kTaps} * kScale * kScale * kLanes;
  int64_t const lowPlane = a.height * a.width, plane = lowPlane * kScale * kScale, wide = a.width * kScale;
  int64_t const low = (tile.y + y) * a.width + tile.x, high = (tile.y + y) * kScale * wide + tile.x * kScale;
  for (int64_t t = 0; t < a.terms; ++t) {
    int64_t const term = tile.image * a.terms + t;
    for (int i = 0; i < kScale; ++i) {
      float* const row = weights + t * kTerm + (i / kRows * kTaps * kAccumulators + i % kRows * kScale) * kLanes;
      for (int64_t k = 0; k < kTaps; ++k) {
        T const* const from = at<T>(a.kernels, ((term * a.groups + group) * kTaps + k) * plane + high + i * wide);
        float* to = row + k * kAccumulators * kLanes;
        for (int64_t x = 0; x < tile.columns; x += kLanes, to += a.terms * kTerm) {
          int64_t const valid = tile.columns - x;
          Vector v[kScale];
          FADE_UNROLL for (int j = 0; j < kScale; ++j) {
            T const* const p = from + x * kScale + j * kLanes;
            v[j] = valid >= kLanes ? load(p) : loadFirst(p, valid * kScale - j * kLanes);
          }
          deinterleave<kScale>(v);
          if (a.decoderLogits != nullptr) {
            Vector const logits = loadFirst(at<T>(a.decoderLogits, (term * kTaps + k) * lowPlane + low + x), valid);
            FADE_UNROLL for (int j = 0; j < kScale; ++j) v[j] += logits;
          }
          FADE_UNROLL for (int j = 0; j < kScale; ++j) storeAligned(to + j * kLanes, v[j]);
        }
      }
    }
    for (int64_t x = 0; x < tile.columns; x += kLanes) {
      Vector factor = splat(1.f);
      if (a.weightKind != DecoderWeight::kOne) {
        factor = loadFirst(at<T>(a.weight, term * lowPlane + low + x), tile.columns - x);
        if (a.weightKind == DecoderWeight::kOneMinusSigmoid) {
          Vector g[kScale];
          g[0] = sigmoid(factor);
          factor = sigmoid(Vector{} - factor);  // 1 - g, without cancellation where g is nearly 1
          if (gate != nullptr) {
            repeatLanes<kScale>(g);
            FADE_UNROLL for (int j = 0; j < kScale; ++j) storeAligned(gate + x * kScale + j * kLanes, g[j]);
          }
        }
      }
      float* const block = weights + x / kLanes * a.terms * kTerm + t * kTerm;
      for (int pass = 0; pass < kScale / kRows; ++pass) {
        for (int s = 0; s < kAccumulators; ++s) {
          float* const first = block + (pass * kTaps * kAccumulators + s) * kLanes;
          if (a.softmax) {
            softmaxTaps<kTaps>(first, kAccumulators * kLanes, factor);
          } else if (a.weightKind != DecoderWeight::kOne) {
            multiplyTaps<kTaps>(first, kAccumulators * kLanes, factor);
          }
        }
      }
    }
  }
}

// The tile of one decoder channel with its border of K/2, zeros outside the image. Writes whole vectors, so less than
// one beyond the end of each row: into the next one, which follows, or into what is left free behind the last.
template <typename T, int kSize>
static void copySource(UpsampleArguments const& a, Tile const& tile, int64_t channel, float* to, int64_t pitch) {
  T const* const plane = at<T>(a.decoder, channel * a.height * a.width);
  int64_t const x0 = tile.x - kSize / 2;  // column of to[0]
  int64_t const left = larger(-x0, 0), right = smaller(a.width - x0, pitch);
  for (int64_t y = tile.y - kSize / 2; y < tile.y + tile.rows + kSize / 2; ++y, to += pitch) {
    int64_t x = 0;
    if (y >= 0 && y < a.height) {
      T const* const from = plane + y * a.width + x0 + left;
      if (left > 0) store(to, Vector{});
      for (x = left; x < right; x += kLanes) store(to + x, loadFirst(from + (x - left), right - x));
    }
    for (; x < pitch; x += kLanes) store(to + x, Vector{});
  }
}

// Where a block reads and writes: first channel, its first output row and column.
template <typename T>
struct BlockTensors {
  T* output;
  T const* encoder;       // or null
  T const* base;          // or null
  int64_t plane, wide;    // strides of output and encoder: channel, row
  int64_t baseChannel, baseRow, baseColumn;
  int64_t ahead;          // from this block's output to that of the block whose lines are to be fetched
};

struct BlockSource {
  float const* first;
  int64_t row, channel, term;  // strides
  int64_t terms;
};

enum Access { kRead, kWrite };  // as __builtin_prefetch numbers them

// Brings lines that a block will need soon into the cache.
template <Access kAccess, int kChannels, int kRows, int kLines, typename T>
FADE_INLINE void fetchLines(T const* from, int64_t plane, int64_t wide) {
  FADE_UNROLL for (int c = 0; c < kChannels; ++c) {
    FADE_UNROLL for (int i = 0; i < kRows; ++i) {
      FADE_UNROLL for (int l = 0; l < kLines; ++l) {
        __builtin_prefetch(from + c * plane + i * wide + l * static_cast<int>(64 / sizeof(T)), kAccess);
      }
    }
  }
}

template <typename T, int kSize, int kScale, int kChannels>
FADE_INLINE void computeBlock(BlockSource const& source, float const* weights, float const* gate,
                              BlockTensors<T> const& to) {
  constexpr int kTaps = kSize * kSize, kRows = kBlockRows<kScale>, kAccumulators = kRows * kScale;
  constexpr int64_t kTerm = int64_t{kTaps} * kScale * kScale * kLanes;
  constexpr int kLines = static_cast<int>(kScale * kLanes * sizeof(T) + 63) / 64;
  if (to.encoder != nullptr) fetchLines<kRead, kChannels, kScale, kLines>(to.encoder + to.ahead, to.plane, to.wide);
  fetchLines<kWrite, kChannels, kScale, kLines>(to.output + to.ahead, to.plane, to.wide);
  for (int pass = 0; pass < kScale / kRows; ++pass) {
    Vector sums[kChannels][kAccumulators];
    FADE_UNROLL for (int c = 0; c < kChannels; ++c) {
      FADE_UNROLL for (int s = 0; s < kAccumulators; ++s) sums[c][s] = Vector{};
    }
    for (int64_t t = 0; t < source.terms; ++t) {
      float const* w = weights + t * kTerm + pass * kTaps * kAccumulators * kLanes;
#pragma GCC unroll 1
      for (int i = 0; i < kSize; ++i) {
        float const* const row = source.first + t * source.term + i * source.row;
        FADE_UNROLL for (int j = 0; j < kSize; ++j, w += kAccumulators * kLanes) {
          // The fewer are held in registers while the others pass by.
          if constexpr (kChannels < kAccumulators) {
            Vector values[kChannels];
            FADE_UNROLL for (int c = 0; c < kChannels; ++c) values[c] = load(row + c * source.channel + j);
            FADE_UNROLL for (int s = 0; s < kAccumulators; ++s) {
              Vector const tap = loadAligned(w + s * kLanes);
              FADE_UNROLL for (int c = 0; c < kChannels; ++c) accumulate(sums[c][s], values[c], tap);
            }
          } else {
            Vector taps[kAccumulators];
            FADE_UNROLL for (int s = 0; s < kAccumulators; ++s) taps[s] = loadAligned(w + s * kLanes);
            FADE_UNROLL for (int c = 0; c < kChannels; ++c) {
              Vector const value = load(row + c * source.channel + j);
              FADE_UNROLL for (int s = 0; s < kAccumulators; ++s) accumulate(sums[c][s], value, taps[s]);
            }
          }
        }
      }
    }
    // Each condition once, so that the sums stay in registers through straight code.
    int64_t const first = pass * kRows;
    FADE_UNROLL for (int c = 0; c < kChannels; ++c) {
      FADE_UNROLL for (int r = 0; r < kRows; ++r) {
        interleave<kScale>(reinterpret_cast<Vector(&)[kScale]>(sums[c][r * kScale]));
      }
    }
    if (to.encoder != nullptr) {
      FADE_UNROLL for (int j = 0; j < kScale; ++j) {
        Vector const g = loadAligned(gate + j * kLanes);
        FADE_UNROLL for (int c = 0; c < kChannels; ++c) {
          FADE_UNROLL for (int r = 0; r < kRows; ++r) {
            Vector const value = load(to.encoder + c * to.plane + (first + r) * to.wide + j * kLanes);
            sums[c][r * kScale + j] = multiplyAdd(g, value, sums[c][r * kScale + j]);
          }
        }
      }
    }
    if (to.base != nullptr) {
      FADE_UNROLL for (int c = 0; c < kChannels; ++c) {
        FADE_UNROLL for (int r = 0; r < kRows; ++r) {
          T const* const base = to.base + c * to.baseChannel + (first + r) * to.baseRow;
          FADE_UNROLL for (int j = 0; j < kScale; ++j) {
            sums[c][r * kScale + j] += to.baseColumn != 0 ? load(base + j * kLanes) : splat(loadOne(base));
          }
        }
      }
    }
    FADE_UNROLL for (int c = 0; c < kChannels; ++c) {
      FADE_UNROLL for (int r = 0; r < kRows; ++r) {
        T* const row = to.output + c * to.plane + (first + r) * to.wide;
        FADE_UNROLL for (int j = 0; j < kScale; ++j) {
          store(row + j * kLanes, sums[c][r * kScale + j]);
        }
      }
    }
  }
}

// The last block of a row with fewer than kLanes pixels, by way of full-sized copies.
template <typename T, int kSize, int kScale, int kChannels>
static __attribute__((noinline)) void computeRaggedBlock(BlockSource const& source, float const* weights, float const* gate,
                                                         BlockTensors<T> const& to, int64_t valid) {
  constexpr int64_t kWide = kScale * kLanes, kPlane = kScale * kWide;
  T output[kChannels * kPlane], encoder[kChannels * kPlane], base[kChannels * kPlane];
  BlockTensors<T> full{output, nullptr, nullptr, kPlane, kWide, to.baseChannel, to.baseRow, to.baseColumn, 0};
  size_t const bytes = static_cast<size_t>(valid * kScale) * sizeof(T);
  for (int64_t row = 0; row < kChannels * kScale; ++row) {
    int64_t const from = row / kScale * to.plane + row % kScale * to.wide;
    for (int64_t x = 0; x < kWide; ++x) encoder[row * kWide + x] = base[row * kWide + x] = T{};
    if (to.encoder != nullptr) __builtin_memcpy(encoder + row * kWide, to.encoder + from, bytes);
    if (to.base != nullptr && to.baseColumn != 0) {
      __builtin_memcpy(base + row * kWide, to.base + row / kScale * to.baseChannel + row % kScale * to.baseRow, bytes);
    }
  }
  if (to.encoder != nullptr) full.encoder = encoder;
  if (to.base != nullptr) {
    full.base = to.base;
    if (to.baseColumn != 0) full.base = base, full.baseChannel = kPlane, full.baseRow = kWide;
  }
  computeBlock<T, kSize, kScale, kChannels>(source, weights, gate, full);
  for (int64_t row = 0; row < kChannels * kScale; ++row) {
    __builtin_memcpy(to.output + row / kScale * to.plane + row % kScale * to.wide, output + row * kWide, bytes);
  }
}

template <typename T, int kSize, int kScale>
static void computeTile(UpsampleArguments const& a, UpsamplePlan const& plan, Tile const& tile, float* scratch) {
  constexpr int kTaps = kSize * kSize, kChannels = kBlockChannels<kScale>;
  int64_t const wide = a.width * kScale, plane = wide * a.height * kScale;
  int64_t const blockFloats = int64_t{kTaps} * kScale * kScale * kLanes * a.terms;
  int64_t const rowFloats = plan.columns / kLanes * blockFloats;
  float* const weights = scratch;
  float* const gate = weights + plan.weightFloats;
  float* const source = gate + plan.gateFloats;
  BlockSource from{nullptr, plan.pitch, (plan.rows + kSize - 1) * plan.pitch, 0, a.terms};
  from.term = from.channel * plan.copied;
  int64_t const perGroup = a.channels / a.groups;
  for (int64_t group = 0; group < a.groups; ++group) {
    for (int64_t y = 0; y < tile.rows; ++y) {
      makeWeights<T, kSize, kScale>(a, tile, y, group, weights + y * rowFloats,
                                    a.encoder ? gate + y * plan.columns * kScale : nullptr);
    }
    int64_t const end = (group + 1) * perGroup;
    for (int64_t first = group * perGroup; first < end; first += plan.copied) {
      int64_t const count = smaller(end - first, plan.copied);
      for (int64_t t = 0; t < a.terms; ++t) {
        for (int64_t c = 0; c < count; ++c) {
          copySource<T, kSize>(a, tile, (tile.image * a.terms + t) * a.channels + first + c,
                               source + t * from.term + c * from.channel, plan.pitch);
        }
      }
      for (int64_t y = 0; y < tile.rows; ++y) {
        for (int64_t x = 0; x < tile.columns; x += kLanes) {
          int64_t const row = (tile.y + y) * kScale, column = (tile.x + x) * kScale;
          int64_t const channel = tile.image * a.channels + first;
          int64_t const offset = channel * plane + row * wide + column;
          BlockTensors<T> to{};
          to.output = static_cast<T*>(a.output) + offset;
          to.encoder = a.encoder ? at<T>(a.encoder, offset) : nullptr;
          to.base = a.base ? at<T>(a.base, tile.image * a.baseStrides[0] + first * a.baseStrides[1] +
                                               row * a.baseStrides[2] + column * a.baseStrides[3])
                           : nullptr;
          to.plane = plane, to.wide = wide;
          to.baseChannel = a.baseStrides[1], to.baseRow = a.baseStrides[2], to.baseColumn = a.baseStrides[3];
          to.ahead = kBlocksAhead * kLanes * kScale;
          if (x + kBlocksAhead * kLanes >= tile.columns) to.ahead += kScale * (wide - roundUp(tile.columns, kLanes));
          float const* const blockWeights = weights + y * rowFloats + x / kLanes * blockFloats;
          float const* const blockGate = gate + (y * plan.columns + x) * kScale;
          from.first = source + y * plan.pitch + x;
          int64_t c = 0;
          auto const next = [&](int64_t channels) {
            c += channels;
            from.first += channels * from.channel;
            to.output += channels * plane;
            if (to.encoder) to.encoder += channels * plane;
            if (to.base) to.base += channels * to.baseChannel;
          };
          int64_t const valid = tile.columns - x;
          for (; c + kChannels <= count; next(kChannels)) {
            if (valid >= kLanes) {
              computeBlock<T, kSize, kScale, kChannels>(from, blockWeights, blockGate, to);
            } else {
              computeRaggedBlock<T, kSize, kScale, kChannels>(from, blockWeights, blockGate, to, valid);
            }
          }
          for (; c < count; next(1)) {
            if (valid >= kLanes) {
              computeBlock<T, kSize, kScale, 1>(from, blockWeights, blockGate, to);
            } else {
              computeRaggedBlock<T, kSize, kScale, 1>(from, blockWeights, blockGate, to, valid);
            }
          }
        }
      }
    }
  }
}

struct UpsampleCall {
  UpsampleArguments const* arguments;
  UpsamplePlan plan;
  char* scratch;
  int64_t taken;  // tiles that some piece has begun
};

// One piece: takes tiles until none is left, all in the scratch of its slot.
template <typename T, int kSize, int kScale>
static void upsamplePiece(void* context, size_t slot) {
  UpsampleCall& call = *static_cast<UpsampleCall*>(context);
  UpsampleArguments const& a = *call.arguments;
  UpsamplePlan const& plan = call.plan;
  float* const scratch = reinterpret_cast<float*>(call.scratch + slot * slotBytes(plan));
  int64_t const tiles = a.batch * plan.tilesDown * plan.tilesAcross;
  while (true) {
    int64_t const index = __atomic_fetch_add(&call.taken, 1, __ATOMIC_RELAXED);
    if (index >= tiles) break;
    Tile tile;
    tile.x = index % plan.tilesAcross * plan.columns;
    tile.y = index / plan.tilesAcross % plan.tilesDown * plan.rows;
    tile.image = index / plan.tilesAcross / plan.tilesDown;
    tile.rows = smaller(plan.rows, a.height - tile.y);
    tile.columns = smaller(plan.columns, a.width - tile.x);
    computeTile<T, kSize, kScale>(a, plan, tile, scratch);
  }
}

}  // namespace FADE_LEVEL
}  // namespace fade
