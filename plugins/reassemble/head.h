// The last stage of the fused SegFormer head, tile by tile.
//
// Lanes are hidden channels until the ReLU. A gate is the same for the s x s output pixels of a decoder pixel, so
// encoderWeight @ [g_0 x, g_1 x, g_2 x, x] = (g_0 W_0 + g_1 W_1 + g_2 W_2 + W_3) @ x: the weights are mixed once a
// decoder pixel in registers, 3 + s*s products in place of 4*s*s. The sums go on through the taps of the three
// reassemblies, and are transposed on their way out, because in the class product lanes are pixels.
#pragma once

#include "head_tile.h"

namespace fade {
namespace FADE_LEVEL {

// The encoder's part of a block, with the biases.
template <int kScale>
FADE_INLINE void mixEncoder(float const* weights, float const* pixels, float const* gates, int64_t channels,
                            Vector (&sums)[kBlockPixels]) {
  constexpr int kColumns = kHeadColumns<kScale>, kRows = kHeadRows<kScale>, kRun = kColumns * kScale;
  auto const mix = [&](float const* w, int p) {
    Vector value = multiplyAdd(loadAligned(w), splat(gates[p]), loadAligned(w + 3 * kLanes));
    value = multiplyAdd(loadAligned(w + kLanes), splat(gates[kColumns + p]), value);
    return multiplyAdd(loadAligned(w + 2 * kLanes), splat(gates[2 * kColumns + p]), value);
  };
  FADE_UNROLL for (int p = 0; p < kColumns; ++p) {
    Vector const constant = mix(weights + channels * 4 * kLanes, p);
    FADE_UNROLL for (int i = 0; i < kRows; ++i) {
      FADE_UNROLL for (int j = 0; j < kScale; ++j) sums[i * kRun + p * kScale + j] = constant;
    }
  }
  for (int64_t c = 0; c < channels; ++c, weights += 4 * kLanes, pixels += kBlockPixels) {
    FADE_UNROLL for (int p = 0; p < kColumns; ++p) {
      Vector const mixed = mix(weights, p);
      FADE_UNROLL for (int i = 0; i < kRows; ++i) {
        FADE_UNROLL for (int j = 0; j < kScale; ++j) {
          int const pixel = i * kRun + p * kScale + j;
          sums[pixel] = multiplyAdd(mixed, splat(pixels[pixel]), sums[pixel]);
        }
      }
    }
  }
}

// Adds one reassembly; `source` is the first pixel of the block's window.
template <int kSize, int kScale>
FADE_INLINE void addReassembly(float const* source, int64_t sourceRow, float const* taps, Vector (&sums)[kBlockPixels]) {
  constexpr int kColumns = kHeadColumns<kScale>, kRows = kHeadRows<kScale>, kRun = kColumns * kScale;
#pragma GCC unroll 1
  for (int i = 0; i < kSize; ++i, taps += kSize * kBlockPixels, source += sourceRow) {
    FADE_UNROLL for (int x = 0; x < kColumns + kSize - 1; ++x) {
      Vector const value = loadAligned(source + x * kLanes);
      FADE_UNROLL for (int p = 0; p < kColumns; ++p) {
        int const j = x - p;
        if (j < 0 || j >= kSize) continue;
        FADE_UNROLL for (int r = 0; r < kRows; ++r) {
          FADE_UNROLL for (int s = 0; s < kScale; ++s) {
            int const pixel = r * kRun + p * kScale + s;
            sums[pixel] = multiplyAdd(value, splat(taps[j * kBlockPixels + pixel]), sums[pixel]);
          }
        }
      }
    }
  }
}

// ReLU, and from channels in the lanes to pixels in the lanes: to[channel][pixel].
FADE_INLINE void storeHidden(Vector (&sums)[kBlockPixels], float* to) {
  FADE_UNROLL for (int half = 0; half < kBlockPixels / kLanes; ++half) {
    Vector rows[kLanes];
    // NaN stays: maximum() gives its second operand then.
    FADE_UNROLL for (int r = 0; r < kLanes; ++r) rows[r] = maximum(Vector{}, sums[half * kLanes + r]);
    transpose(rows);
    FADE_UNROLL for (int c = 0; c < kLanes; ++c) storeAligned(to + c * kPanelPixels + half * kLanes, rows[c]);
  }
}

// Chunk by chunk, and in a chunk step by step over all blocks: what a step uses again and again (the weights of the
// chunk, or one decoder feature) then stays in the first-level cache.
template <typename T, int kSize, int kScale>
static void computeHidden(HeadArguments const& a, HeadPlan const& plan, HeadTile const& tile,
                          HeadScratch const& scratch) {
  constexpr int64_t kTaps = kSize * kSize;
  int64_t const panelFloats = plan.chunks * kLanes * kPanelPixels;
  int64_t const sourceRow = plan.sourceColumns * kLanes;
  for (int64_t chunk = 0; chunk < plan.chunks; ++chunk) {
    float const* const weights = scratch.encoderWeights + chunk * (a.encoderChannels + 1) * 4 * kLanes;
    for (int64_t b = 0; b < tile.blocks; ++b) {
      Vector sums[kBlockPixels];
      mixEncoder<kScale>(weights, scratch.pixels + b * a.encoderChannels * kBlockPixels,
                         scratch.gates + b * 3 * kHeadColumns<kScale>, a.encoderChannels, sums);
      float* const to = scratch.sums + b * kBlockPixels * kLanes;
      FADE_UNROLL for (int i = 0; i < kBlockPixels; ++i) storeAligned(to + i * kLanes, sums[i]);
    }
    for (int64_t t = 0; t < 3; ++t) {
      gatherSource<T, kSize>(a, plan, tile, chunk, t, scratch.source);
      SourceFetch<T> next(a, plan, tile, t < 2 ? chunk : chunk + 1, t < 2 ? t + 1 : 0);
      int64_t const share = (next.runs() + tile.blocks - 1) / tile.blocks;
      for (int64_t b = 0; b < tile.blocks; ++b) {
        next.fetch(share);
        HeadBlock const block = headBlock<kScale>(tile, b);
        float* const from = scratch.sums + b * kBlockPixels * kLanes;
        Vector sums[kBlockPixels];
        FADE_UNROLL for (int i = 0; i < kBlockPixels; ++i) sums[i] = loadAligned(from + i * kLanes);
        addReassembly<kSize, kScale>(scratch.source + block.y * sourceRow + block.x * kLanes, sourceRow,
                                     scratch.taps + (b * 3 + t) * kTaps * kBlockPixels, sums);
        if (t < 2) {
          FADE_UNROLL for (int i = 0; i < kBlockPixels; ++i) storeAligned(from + i * kLanes, sums[i]);
        } else {
          storeHidden(sums, scratch.hidden + b / kPanelBlocks * panelFloats + b % kPanelBlocks * kBlockPixels +
                                chunk * kLanes * kPanelPixels);
        }
      }
    }
  }
}

// What the tile's last panel holds beyond its blocks is multiplied with the others and dropped: zeros, because whatever
// else lay there could be slow (subnormal numbers).
FADE_INLINE void clearLastPanel(HeadPlan const& plan, HeadTile const& tile, float* hidden) {
  if (tile.blocks % kPanelBlocks == 0) return;
  int64_t const panelFloats = plan.chunks * kLanes * kPanelPixels;
  float* const last = hidden + tile.blocks / kPanelBlocks * panelFloats;
  for (int64_t i = 0; i < panelFloats; i += kLanes) storeAligned(last + i, Vector{});
}

// kRows classes of a panel of pixels; weights [E + 1][kRows].
template <int kRows>
FADE_INLINE void classify(float const* weights, float const* hidden, int64_t channels, float* to) {
  Vector sums[kRows][kPanelVectors];
  FADE_UNROLL for (int m = 0; m < kRows; ++m) {
    FADE_UNROLL for (int v = 0; v < kPanelVectors; ++v) sums[m][v] = splat(weights[channels * kRows + m]);
  }
  for (int64_t e = 0; e < channels; ++e, weights += kRows, hidden += kPanelPixels) {
    Vector values[kPanelVectors];
    FADE_UNROLL for (int v = 0; v < kPanelVectors; ++v) values[v] = loadAligned(hidden + v * kLanes);
    FADE_UNROLL for (int m = 0; m < kRows; ++m) {
      Vector const weight = splat(weights[m]);
      FADE_UNROLL for (int v = 0; v < kPanelVectors; ++v) sums[m][v] = multiplyAdd(weight, values[v], sums[m][v]);
    }
  }
  FADE_UNROLL for (int m = 0; m < kRows; ++m) {
    FADE_UNROLL for (int v = 0; v < kPanelVectors; ++v) storeAligned(to + m * kPanelPixels + v * kLanes, sums[m][v]);
  }
}

template <int kRows>
static void classifyRows(int64_t rows, float const* weights, float const* hidden, int64_t channels, float* to) {
  if constexpr (kRows > 1) {
    if (rows < kRows) return classifyRows<kRows - 1>(rows, weights, hidden, channels, to);
  }
  classify<kRows>(weights, hidden, channels, to);
}

template <int kCount>
FADE_INLINE void storeRun(float* to, float const* from) {
  __builtin_memcpy(to, from, kCount * sizeof(float));
}
template <int kCount>
FADE_INLINE void storeRun(Half* to, float const* from) {
  constexpr int kPart = kCount < kLanes ? kCount : kLanes;
  FADE_UNROLL for (int x = 0; x < kCount; x += kPart) {
    Vector value = {};
    __builtin_memcpy(&value, from + x, kPart * sizeof(float));
    HalfVector const bits = narrow(value);
    __builtin_memcpy(to + x, &bits, kPart * sizeof(Half));
  }
}

template <typename T, int kScale>
static void computeClasses(HeadArguments const& a, HeadPlan const& plan, HeadTile const& tile,
                           HeadScratch const& scratch) {
  constexpr int kRun = kHeadColumns<kScale> * kScale;
  int64_t const panelFloats = plan.chunks * kLanes * kPanelPixels;
  int64_t const wide = a.width * kScale, plane = wide * a.height * kScale;
  alignas(kAlignment) float results[kClassRows * kPanelPixels];
  for (int64_t panel = 0; panel * kPanelBlocks < tile.blocks; ++panel) {
    for (int64_t m0 = 0; m0 < a.classes; m0 += kClassRows) {
      int64_t const rows = smaller(a.classes - m0, kClassRows);
      classifyRows<kClassRows>(rows, scratch.classWeights + m0 * (a.hiddenChannels + 1),
                               scratch.hidden + panel * panelFloats, a.hiddenChannels, results);
      for (int64_t b = panel * kPanelBlocks; b < smaller((panel + 1) * kPanelBlocks, tile.blocks); ++b) {
        HeadBlock const block = headBlock<kScale>(tile, b);
        int64_t const valid = (tile.columns - block.x) * kScale;
        float const* from = results + b % kPanelBlocks * kBlockPixels;
        T* to = static_cast<T*>(a.output) + (tile.image * a.classes + m0) * plane +
                ((tile.y + block.y) * kScale + block.subRow) * wide + (tile.x + block.x) * kScale;
        for (int64_t m = 0; m < rows; ++m, from += kPanelPixels, to += plane) {
          FADE_UNROLL for (int i = 0; i < kHeadRows<kScale>; ++i) {
            if (valid >= kRun) {
              storeRun<kRun>(to + i * wide, from + i * kRun);
            } else {
              for (int64_t x = 0; x < valid; ++x) storeRun<1>(to + i * wide + x, from + i * kRun + x);
            }
          }
        }
      }
    }
  }
}

struct HeadCall {
  HeadArguments const* arguments;
  HeadPlan plan;
  float* scratch;
  int64_t packPieces;
  int64_t taken;  // tiles that some piece has begun
};

// Brings a share of the weights into the order of use.
template <typename T>
static void packPiece(void* context, size_t index) {
  HeadCall& call = *static_cast<HeadCall*>(context);
  HeadArguments const& a = *call.arguments;
  int64_t const channels = a.encoderChannels, hidden = a.hiddenChannels, columns = 4 * channels + 3;
  int64_t const first = static_cast<int64_t>(index);
  for (int64_t e = first; e < call.plan.chunks * kLanes; e += call.packPieces) {
    float* const to = call.scratch + e / kLanes * (channels + 1) * 4 * kLanes + e % kLanes;
    T const* const row = at<T>(a.encoderWeight, e * columns);
    for (int64_t t = 0; t < 4; ++t) {
      for (int64_t c = 0; c < channels; ++c) to[(c * 4 + t) * kLanes] = e < hidden ? loadOne(row + t * channels + c) : 0.f;
      T const* const constant = t < 3 ? row + 4 * channels + t : at<T>(a.encoderBias, e);
      to[(channels * 4 + t) * kLanes] = e < hidden ? loadOne(constant) : 0.f;
    }
  }
  for (int64_t m = first; m < a.classes; m += call.packPieces) {
    int64_t const m0 = m / kClassRows * kClassRows, rows = smaller(a.classes - m0, kClassRows);
    float* const to = call.scratch + call.plan.encoderWeights + m0 * (hidden + 1) + m % kClassRows;
    for (int64_t e = 0; e < hidden; ++e) to[e * rows] = loadOne(at<T>(a.classWeight, m * hidden + e));
    to[hidden * rows] = loadOne(at<T>(a.classBias, m));
  }
}

// One piece: takes tiles until none is left, all in the scratch of its slot.
template <typename T, int kSize, int kScale>
static void headPiece(void* context, size_t slot) {
  HeadCall& call = *static_cast<HeadCall*>(context);
  HeadArguments const& a = *call.arguments;
  HeadPlan const& plan = call.plan;
  HeadScratch scratch;
  scratch.encoderWeights = call.scratch;
  scratch.classWeights = scratch.encoderWeights + plan.encoderWeights;
  scratch.hidden = call.scratch + sharedFloats(plan) + static_cast<int64_t>(slot) * slotFloats(plan);
  scratch.sums = scratch.hidden + plan.hidden;
  scratch.pixels = scratch.sums + plan.sums;
  scratch.taps = scratch.pixels + plan.pixels;
  scratch.gates = scratch.taps + plan.taps;
  scratch.source = scratch.gates + plan.gates;
  scratch.tapRow = scratch.source + plan.source;
  scratch.gateRow = scratch.tapRow + plan.tapRow;
  int64_t const tiles = a.batch * plan.tilesDown * plan.tilesAcross;
  while (true) {
    int64_t const index = __atomic_fetch_add(&call.taken, 1, __ATOMIC_RELAXED);
    if (index >= tiles) return;
    Tile place;
    place.x = index % plan.tilesAcross * plan.columns;
    place.y = index / plan.tilesAcross % plan.tilesDown * plan.rows;
    place.image = index / plan.tilesAcross / plan.tilesDown;
    place.rows = smaller(plan.rows, a.height - place.y);
    place.columns = smaller(plan.columns, a.width - place.x);
    HeadTile const tile = headTile<kScale>(place);
    clearLastPanel(plan, tile, scratch.hidden);
    gatherPixels<T, kScale>(a, tile, scratch.pixels);
    gatherTaps<T, kSize, kScale>(a, plan, tile, scratch);
    computeHidden<T, kSize, kScale>(a, plan, tile, scratch);
    computeClasses<T, kScale>(a, plan, tile, scratch);
  }
}

}  // namespace FADE_LEVEL
}  // namespace fade
