// What the head reads for a tile, brought into the order of its blocks.
#pragma once

#include "head_plan.h"
#include "taps.h"
#include "tensors.h"

namespace fade {
namespace FADE_LEVEL {

struct HeadScratch {
  float const* encoderWeights;  // [chunk][C + 1][4][kLanes]; of channel C: the weights of the gates, and the bias
  float const* classWeights;    // [block of kClassRows][E + 1][kClassRows]; row E: the bias
  float* hidden;                // [panel][chunk * kLanes][kPanelPixels]
  float* pixels;                // [block][C][kBlockPixels]
  float* taps;                  // [block][3][K*K][kBlockPixels]
  float* gates;                 // [block][3][kHeadColumns]
  float* sums;                  // [block][kBlockPixels][kLanes], of one chunk
  float* source;                // [row][column][kLanes], of one chunk of one decoder feature
  float* tapRow;                // [K*K][tapColumns], of one output row
  float* gateRow;               // [2][columns], of one decoder row: g and 1 - g
};

// A tile in blocks. At the right of the image it has fewer columns than the others, and just the blocks for these.
struct HeadTile : Tile {
  int64_t rowBlocks;  // along x
  int64_t blocks;
};
template <int kScale>
FADE_INLINE HeadTile headTile(Tile const& tile) {
  int64_t const rowBlocks = (tile.columns + kHeadColumns<kScale> - 1) / kHeadColumns<kScale>;
  return {tile, rowBlocks, tile.rows * (kScale / kHeadRows<kScale>)*rowBlocks};
}

// Block `index` of the tile: its decoder row, first decoder column, and first output row of the decoder row.
struct HeadBlock {
  int64_t y, x, subRow;
};
template <int kScale>
FADE_INLINE HeadBlock headBlock(HeadTile const& tile, int64_t index) {
  constexpr int64_t kPasses = kScale / kHeadRows<kScale>;
  HeadBlock block;
  block.x = index % tile.rowBlocks * kHeadColumns<kScale>;
  block.subRow = index / tile.rowBlocks % kPasses * kHeadRows<kScale>;
  block.y = index / tile.rowBlocks / kPasses;
  return block;
}

// kCount consecutive values to floats, the first `valid` of them real and zeros behind.
template <int kCount, typename T>
FADE_INLINE void copyRun(float* to, T const* from, int64_t valid) {
  if (valid >= kCount) {
    copyFull<kCount>(to, from);
  } else {
    for (int64_t x = 0; x < kCount; ++x) to[x] = x < valid ? loadOne(from + x) : 0.f;
  }
}

template <typename T, int kScale>
static void gatherPixels(HeadArguments const& a, HeadTile const& tile, float* pixels) {
  constexpr int kRun = kHeadColumns<kScale> * kScale;
  int64_t const wide = a.width * kScale, plane = wide * a.height * kScale;
  for (int64_t b = 0; b < tile.blocks; ++b) {
    HeadBlock const block = headBlock<kScale>(tile, b);
    int64_t const valid = (tile.columns - block.x) * kScale;
    T const* from = at<T>(a.encoder, tile.image * a.encoderChannels * plane +
                                         ((tile.y + block.y) * kScale + block.subRow) * wide + (tile.x + block.x) * kScale);
    float* to = pixels + b * a.encoderChannels * kBlockPixels;
    for (int64_t c = 0; c < a.encoderChannels; ++c, from += plane) {
      FADE_UNROLL for (int i = 0; i < kHeadRows<kScale>; ++i, to += kRun) copyRun<kRun>(to, from + i * wide, valid);
    }
  }
}

// The weights of all taps, with the softmax and the factor 1 - g in them, and the gates g.
template <typename T, int kSize, int kScale>
static void gatherTaps(HeadArguments const& a, HeadPlan const& plan, HeadTile const& tile, HeadScratch const& scratch) {
  constexpr int kTaps = kSize * kSize, kRun = kHeadColumns<kScale> * kScale;
  float* const complementRow = scratch.gateRow + plan.gateRow / 2;
  int64_t const lowPlane = a.height * a.width, wide = a.width * kScale, plane = lowPlane * kScale * kScale;
  for (int64_t y = 0; y < tile.rows; ++y) {
    int64_t const low = (tile.y + y) * a.width + tile.x;
    for (int64_t t = 0; t < 3; ++t) {
      int64_t const term = tile.image * 3 + t;
      for (int64_t x = 0; x < tile.columns; x += kLanes) {
        Vector const logits = loadFirst(at<T>(a.gateLogits, term * lowPlane + low + x), tile.columns - x);
        storeAligned(scratch.gateRow + x, sigmoid(logits));
        storeAligned(complementRow + x, sigmoid(Vector{} - logits));  // without cancellation where g is nearly 1
      }
      for (int64_t i = 0; i < kScale; ++i) {
        int64_t const high = ((tile.y + y) * kScale + i) * wide + tile.x * kScale;
        for (int64_t x = 0; x < tile.columns; x += kLanes) {
          int64_t const valid = tile.columns - x;
          for (int64_t k = 0; k < kTaps; ++k) {
            Vector logits[kScale];
            FADE_UNROLL for (int j = 0; j < kScale; ++j) logits[j] = Vector{};
            logits[0] = loadFirst(at<T>(a.decoderLogits, (term * kTaps + k) * lowPlane + low + x), valid);
            repeatLanes<kScale>(logits);
            T const* const from = at<T>(a.encoderLogits, (term * kTaps + k) * plane + high + x * kScale);
            FADE_UNROLL for (int j = 0; j < kScale; ++j) {
              storeAligned(scratch.tapRow + k * plan.tapColumns + x * kScale + j * kLanes,
                           logits[j] + loadFirst(from + j * kLanes, valid * kScale - j * kLanes));
            }
          }
          Vector factors[kScale];
          factors[0] = loadAligned(complementRow + x);
          repeatLanes<kScale>(factors);
          FADE_UNROLL for (int j = 0; j < kScale; ++j) {
            softmaxTaps<kTaps>(scratch.tapRow + x * kScale + j * kLanes, plan.tapColumns, factors[j]);
          }
        }
        for (int64_t bx = 0; bx < tile.rowBlocks; ++bx) {
          int64_t const block = (y * (kScale / kHeadRows<kScale>) + i / kHeadRows<kScale>)*tile.rowBlocks + bx;
          float* const to = scratch.taps + (block * 3 + t) * kTaps * kBlockPixels + i % kHeadRows<kScale> * kRun;
          float const* const from = scratch.tapRow + bx * kRun;
          for (int64_t k = 0; k < kTaps; ++k) copyFull<kRun>(to + k * kBlockPixels, from + k * plan.tapColumns);
          if (i % kHeadRows<kScale> == 0) {
            copyFull<kHeadColumns<kScale>>(scratch.gates + (block * 3 + t) * kHeadColumns<kScale>,
                                           scratch.gateRow + bx * kHeadColumns<kScale>);
          }
        }
      }
    }
  }
}

// One chunk of hidden channels of decoder feature t, its channels in the lanes, zeros outside the image.
template <typename T, int kSize>
static void gatherSource(HeadArguments const& a, HeadPlan const& plan, Tile const& tile, int64_t chunk, int64_t t,
                         float* to) {
  int64_t const plane = a.height * a.width, first = chunk * kLanes;
  int64_t const channels = smaller(a.hiddenChannels - first, kLanes);
  T const* const from = at<T>(a.decoder[t], (tile.image * a.decoderChannels[t] + first) * plane);
  for (int64_t r = 0; r < tile.rows + kSize - 1; ++r) {
    int64_t const y = tile.y + r - kSize / 2;
    bool const inside = y >= 0 && y < a.height;
    for (int64_t x = 0; x < plan.sourceColumns; x += kLanes, to += kLanes * kLanes) {
      Vector rows[kLanes];
      FADE_UNROLL for (int c = 0; c < kLanes; ++c) {
        rows[c] = inside && c < channels ? loadWindow(from + c * plane + y * a.width, tile.x + x - kSize / 2, a.width)
                                         : Vector{};
      }
      transpose(rows);
      FADE_UNROLL for (int c = 0; c < kLanes; ++c) storeAligned(to + c * kLanes, rows[c]);
    }
  }
}

// Brings what gatherSource() will read into the cache, a few runs at a time: they are short and far apart.
template <typename T>
class SourceFetch {
 public:
  SourceFetch(HeadArguments const& a, HeadPlan const& plan, Tile const& tile, int64_t chunk, int64_t t) {
    if (chunk >= plan.chunks) return;
    int64_t const border = a.kernelSize / 2, left = larger(tile.x - border, 0), top = larger(tile.y - border, 0);
    rows_ = smaller(tile.y + tile.rows + border, a.height) - top;
    channels_ = smaller(a.hiddenChannels - chunk * kLanes, kLanes);
    width_ = a.width, plane_ = a.height * a.width;
    last_ = smaller(tile.columns + 2 * border, a.width - left) - 1;
    row_ = channel_ = at<T>(a.decoder[t], ((tile.image * a.decoderChannels[t] + chunk * kLanes) * a.height + top) * width_ + left);
  }

  int64_t runs() const { return rows_ * channels_; }
  void fetch(int64_t runs) {
    for (; runs > 0 && rows_ > 0; --runs) {
      __builtin_prefetch(channel_);
      __builtin_prefetch(channel_ + last_);
      channel_ += plane_;
      if (++done_ == channels_) channel_ = row_ += width_, done_ = 0, --rows_;
    }
  }

 private:
  T const* row_ = nullptr;
  T const* channel_ = nullptr;
  int64_t rows_ = 0, channels_ = 0, done_ = 0, width_ = 0, plane_ = 0, last_ = 0;
};

}  // namespace FADE_LEVEL
}  // namespace fade
