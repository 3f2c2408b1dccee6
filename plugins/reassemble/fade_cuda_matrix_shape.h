// Sizes of the kernel on tensor cores (fade_cuda_matrix.h), and its copies of the decoder.
#pragma once

#include "fade_cuda_work.h"

namespace fade::cuda {

// For up to kMostTerms terms and kAddends addends. One of each, as FadeUpsample has them, leaves
// registers for more groups.
template <int32_t kMostTerms, int32_t kAddends>
struct MatrixShape {
  static constexpr int32_t kMostTermsHeld = kMostTerms;
  static constexpr bool kIsSimple = kMostTerms == 1 && kAddends == 1;
  static constexpr int32_t kGroups = kIsSimple ? 4 : 2, kGroupPixels = 4;
  static constexpr int32_t kTaps = 25, kSize = 5;
  // 32 or 16 across. A warp has 32 or 16 of them; fewer warps, more registers.
  static constexpr int32_t kTilePixels = kMostTerms == 1 ? 128 : 96;
  static constexpr int32_t kThreads = kTilePixels / (kGroupPixels * kGroups) * 32;
  static constexpr int32_t kBlocks = kIsSimple ? 2 : 1;  // of a multiprocessor, at least
  static constexpr int32_t kChannels = 16;               // of a step
  static constexpr int32_t kStages = 3;                  // steps of the decoder in shared memory
  static constexpr int32_t kMargin = 4;  // pixels left of a tile's rows, and right; two are used
  static constexpr int32_t kChannelPixels =
      (32 + 2 * kMargin) * (kTilePixels / 32 + kSize - 1);  // more than with 16
  // A multiple of 8 and no more of 16, so that 8 channels lie in different banks.
  static constexpr int32_t kChannelStride =
      kChannelPixels / 16 * 16 + (kChannelPixels % 16 > 8 ? 24 : 8);
  static constexpr int32_t kStageElements = kChannels * kChannelStride;
  // A plane of weights: a pair of outputs in a word, 4 words behind them for the banks.
  static constexpr int32_t kPairs = 2 * kTilePixels, kPlaneWords = kPairs + 4;
  static constexpr int32_t kStageBytes = 2 * kStageElements, kWeightBytes = 4 * kTaps * kPlaneWords;
  // The weights pass through memory that the later stages use afterwards.
  static constexpr int32_t kSharedBytes =
      kStageBytes + (kWeightBytes > 2 * kStageBytes ? kWeightBytes : 2 * kStageBytes);
  static_assert(kStages == 3 && kSharedBytes <= 48 * 1024, "more than a block has unasked");
  static_assert(kChannelStride / 2 % 8 == 4 && kChannelStride >= kChannelPixels, "bank conflicts");
  // Copies of the decoder: 4 pixels each.
  static constexpr int32_t kUnitPixels = 4, kUnits = kChannelPixels / kUnitPixels;
  static constexpr int32_t kChannelsAtOnce = kThreads / kUnits;
  // Words of two outputs of a thread and step: kGroups quadruples, each of 8 adjacent outputs when
  // in memory.
  static constexpr int32_t kQuads = kGroups;

  static Division division(UpsampleArguments const& a) {
    constexpr int64_t kEnoughBlocks = kIsSimple ? 1024 : 512;
    auto const tilesOf = [&](int64_t tileX) {
      return quotientUp(a.width, tileX) * quotientUp(a.height, kTilePixels / tileX);
    };
    int32_t const tileX = tilesOf(16) < tilesOf(32) ? 16 : 32;
    return {tileX, kTilePixels / tileX, 1, kChannels, kEnoughBlocks};
  }

  // Which outputs the element `e` of quadruple `quad` are: a row, a half of the channels, a group.
  struct Position {
    int32_t row, half, group;
  };
  FADE_DEVICE static Position position(int32_t quad, int32_t e) {
    if (kGroups == 4) return {quad / 2, quad % 2, e};
    return {e / 2, quad, e % 2};
  }
};

// Brings the decoder's pixels of a block, with those around them and zeros outside the image, into
// shared memory, step by step. A thread always copies those of one place of the tile.
template <typename Machine, typename T, typename Of>
struct DecoderCopies {
  Machine& machine;
  UpsampleArguments const& a;
  Block const& block;
  T* to;          // of the thread's first channel, in the first stage
  T const* from;  // of the same, in the next step
  bool isInside;
  int32_t nextChannel;  // of the next step
  int32_t nextTerm, nextStage;

  FADE_DEVICE DecoderCopies(Machine& on, UpsampleArguments const& arguments, Block const& where,
                            int32_t tileX, void* shared)
      : machine(on), a(arguments), block(where) {
    int32_t const pitch = tileX + 2 * Of::kMargin;
    int32_t const pixel = machine.thread() % Of::kUnits * Of::kUnitPixels;
    int32_t const x = block.x - Of::kMargin + pixel % pitch;
    int32_t const y = block.y - Of::kSize / 2 + pixel / pitch;
    isInside = x >= 0 && x < a.width && y >= 0 && y < a.height &&
               pixel / pitch < Of::kTilePixels / tileX + Of::kSize - 1;
    int64_t const channel = block.n * a.terms * a.channels + block.firstChannel + first();
    from = static_cast<T const*>(a.decoder) + channel * a.height * a.width +
           (isInside ? y * a.width + x : 0);
    to = static_cast<T*>(shared) + first() * Of::kChannelStride + pixel;
    nextChannel = block.firstChannel;
    nextTerm = nextStage = 0;
  }

  // Which of the channels that are copied at once is this thread's.
  FADE_DEVICE int32_t first() const { return machine.thread() / Of::kUnits; }

  // Begins the copies of the next step, a group of its own; none after the last step.
  FADE_DEVICE void next() {
    int64_t const plane = a.height * a.width;
    if (nextChannel < block.lastChannel && first() < Of::kChannelsAtOnce) {
      T* const stage = to + nextStage * Of::kStageElements;
      FADE_UNROLL
      for (int32_t i = 0; i < Of::kChannels; i += Of::kChannelsAtOnce) {
        bool const isThere = isInside && nextChannel + first() + i < block.lastChannel;
        if (first() + i < Of::kChannels) {
          machine.copyPixels(stage + i * Of::kChannelStride, from + i * plane, isThere);
        }
      }
    }
    machine.commit();
    nextStage = nextStage == Of::kStages - 1 ? 0 : nextStage + 1;
    if (Of::kMostTermsHeld > 1 && ++nextTerm < a.terms) {
      from += a.channels * plane;
      return;
    }
    from += (Of::kChannels - (Of::kMostTermsHeld > 1 ? a.terms - 1 : 0) * a.channels) * plane;
    nextTerm = 0;
    nextChannel += Of::kChannels;
  }
};

}  // namespace fade::cuda
