// How the fused head is cut into tiles and blocks, and where its parts lie in the scratch.
#pragma once

#include "kernels.h"
#include "vector.h"

namespace fade {
namespace FADE_LEVEL {

// Output pixels of a block: that many sums, one vector of hidden channels each, are held in registers.
constexpr int kBlockPixels = kLanes == 16 ? 16 : 8;
// A block of scale s: decoder pixels along x, and output rows of each.
template <int kScale>
constexpr int kHeadRows = kScale < 4 ? kScale : kBlockPixels / 4;
template <int kScale>
constexpr int kHeadColumns = kBlockPixels / (kHeadRows<kScale> * kScale);

// The class product: classes x vectors of pixels in registers.
constexpr int kClassRows = kLanes == 16 ? 12 : 6;
constexpr int kPanelVectors = 2;
constexpr int kPanelPixels = kPanelVectors * kLanes;
constexpr int kPanelBlocks = kPanelPixels / kBlockPixels;
static_assert(kPanelPixels % kBlockPixels == 0, "a panel is a whole number of blocks");

constexpr int64_t kHiddenBytes = 1200 * 1024;  // of a tile, so that it stays in the second-level cache
constexpr int64_t kTileRows = 8;

struct HeadPlan {
  int64_t rows, columns;  // of a tile, decoder pixels
  int64_t tilesDown, tilesAcross, slots;
  int64_t blocks;         // of a tile, a whole number of panels
  int64_t chunks;         // of kLanes hidden channels
  int64_t sourceColumns;  // of a tile with its border
  int64_t tapColumns;     // output pixels of a row while its softmax is computed
  // Floats: shared by all slots, and of one slot.
  int64_t encoderWeights, classWeights;
  int64_t hidden, sums, pixels, taps, gates, source, tapRow, gateRow;
};

FADE_INLINE HeadPlan planHead(HeadArguments const& a, int64_t threads) {
  HeadPlan plan;
  int64_t const size = a.kernelSize, scale = a.scale, taps = size * size;
  int64_t const blockRows = scale < 4 ? scale : kBlockPixels / 4;
  int64_t const blockColumns = kBlockPixels / (blockRows * scale);
  // With their border a tile's columns fill a vector of 16, where that leaves any.
  plan.columns = larger((16 - (size - 1)) / blockColumns, 1) * blockColumns;
  plan.columns = smaller(plan.columns, roundUp(a.width, blockColumns));
  plan.tilesAcross = (a.width + plan.columns - 1) / plan.columns;
  plan.chunks = (a.hiddenChannels + kLanes - 1) / kLanes;
  int64_t const rowBytes = plan.columns * scale * scale * plan.chunks * kLanes * 4;
  plan.rows = smaller(smaller(larger(kHiddenBytes / rowBytes, 1), kTileRows), a.height);
  while (plan.rows > 2 && threads > 1 &&
         a.batch * plan.tilesAcross * ((a.height + plan.rows - 1) / plan.rows) < 3 * threads) {
    plan.rows = (plan.rows + 1) / 2;
  }
  plan.tilesDown = (a.height + plan.rows - 1) / plan.rows;
  plan.slots = larger(smaller(threads, a.batch * plan.tilesAcross * plan.tilesDown), 1);
  plan.blocks = roundUp(plan.rows * (scale / blockRows) * (plan.columns / blockColumns), kPanelBlocks);
  plan.sourceColumns = roundUp(plan.columns + size - 1, kLanes);
  plan.tapColumns = roundUp(plan.columns, kLanes) * scale;
  plan.encoderWeights = plan.chunks * (a.encoderChannels + 1) * 4 * kLanes;
  plan.classWeights = roundUp(roundUp(a.classes, kClassRows) * (a.hiddenChannels + 1), kLanes);
  plan.hidden = plan.blocks * kBlockPixels * plan.chunks * kLanes;
  plan.sums = plan.blocks * kBlockPixels * kLanes;
  plan.pixels = plan.blocks * a.encoderChannels * kBlockPixels;
  plan.taps = plan.blocks * 3 * taps * kBlockPixels;
  plan.gates = roundUp(plan.blocks * 3 * blockColumns, kLanes);
  plan.source = (plan.rows + size - 1) * plan.sourceColumns * kLanes;
  plan.tapRow = taps * plan.tapColumns;
  plan.gateRow = 2 * roundUp(plan.columns, kLanes);
  return plan;
}

FADE_INLINE int64_t sharedFloats(HeadPlan const& plan) { return plan.encoderWeights + plan.classWeights; }
FADE_INLINE int64_t slotFloats(HeadPlan const& plan) {
  return plan.hidden + plan.sums + plan.pixels + plan.taps + plan.gates + plan.source + plan.tapRow + plan.gateRow;
}

}  // namespace FADE_LEVEL
}  // namespace fade
