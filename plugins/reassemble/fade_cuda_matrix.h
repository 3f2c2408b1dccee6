// The kernel of the tuned case, K = 5 and s = 2 in float16 or bfloat16: reassembly on tensor cores.
//
// On a large GPU the 25 multiplications an output, in float32, would take most of the instructions
// that fit into the time in which memory delivers the tensors (docs/GPU.md). As a matrix product
// they take few: the 8 outputs of a row above 4 adjacent decoder pixels ("a group") draw on 5 rows
// of 8 decoder pixels, so
//
//   sums[16 channels][8 outputs] += decoder[16 channels][8 pixels] * weights[8 pixels][8 outputs]
//
// for each of the 5 rows, with zeros among the weights where a pixel is no tap of an output: 25 of
// 40 products count. Products are exact and summed in float32. The weights, softmax and gate
// included, are rounded to the storage type first, as the tensors are.
// A decoder pixel that is infinite or NaN therefore makes outputs of its whole group NaN, up to
// three decoder pixels beyond its window.
//
// A warp owns kGroups groups beside each other, the two rows of outputs above them, and holds their
// weights of all terms in registers while it goes through the channels, 16 at a time. With several
// terms that makes one product of 40 * T rows: no weight is computed twice, no sum is rounded in
// between. The decoder's pixels come into shared memory by asynchronous copies, two steps ahead.
// The addends of the next step are read before its products, 16 bytes a thread. What a thread has of
// a product are pairs of adjacent outputs of each group; four threads exchange them for 8 adjacent
// outputs each, and back.
//
// That takes rows of a multiple of 8 outputs that start at multiples of 16 bytes. Other sizes, in
// practice the smallest maps of a network, are left to the general kernel.
#pragma once

#include "fade_cuda_matrix_shape.h"
#include "fade_cuda_weights.h"

namespace fade::cuda {

template <typename Machine, typename T, int32_t kMostTerms, int32_t kAddends>
struct Matrix : MatrixShape<kMostTerms, kAddends> {
  using Of = MatrixShape<kMostTerms, kAddends>;
  using Position = typename Of::Position;
  static constexpr int32_t kTaps = Of::kTaps, kSize = Of::kSize, kGroups = Of::kGroups;
  static constexpr int32_t kGroupPixels = Of::kGroupPixels, kQuads = Of::kQuads;
  static constexpr int32_t kChannels = Of::kChannels, kChannelStride = Of::kChannelStride;

  Machine& machine;
  Work const& work;
  UpsampleArguments const& a;
  Block const& block;
  unsigned char* shared;
  int32_t tileX, pitch;   // decoder pixels across, without and with margins
  int32_t row, column;    // lane / 4 and lane % 4: of a fragment
  int32_t firstX, tileY;  // of the warp: its first decoder pixel in the tile
  DecoderCopies<Machine, T, Of> copies;
  uint32_t weights[kMostTerms][kGroups][2][kSize];
  uint32_t addends[kAddends][kQuads][4];
  float gates[kGroups];
  // Of the thread's outputs as they lie in memory: channel `row` of a step, element `column` of the
  // first quadruple.
  bool isInside;
  T const* sources[kAddends];  // of the step that is read next
  T* target;                   // of the step that is written next

  FADE_DEVICE Matrix(Machine& on, Work const& todo, Grid const& grid, Block const& where,
                     void* memory)
      : machine(on), work(todo), a(todo.arguments), block(where),
        shared(static_cast<unsigned char*>(memory)), tileX(grid.division.tileX),
        pitch(tileX + 2 * Of::kMargin), copies(on, todo.arguments, where, tileX, memory) {
    int32_t const warp = machine.thread() / 32, lane = machine.thread() % 32;
    row = lane / 4;
    column = lane % 4;
    int32_t const warpsAcross = tileX / (kGroups * kGroupPixels);
    firstX = warp % warpsAcross * kGroups * kGroupPixels;
    tileY = warp / warpsAcross;
    startOutputs();
  }

  FADE_DEVICE void startOutputs() {
    Position const at = Of::position(0, column);
    int32_t const x = block.x + firstX + at.group * kGroupPixels, y = block.y + tileY;
    isInside = x < a.width && y < a.height;
    int64_t const outX = isInside ? 2 * x : 0, outY = isInside ? 2 * y + at.row : 0;
    int64_t const c = block.firstChannel + (block.firstChannel + row < block.lastChannel ? row : 0);
    FADE_UNROLL
    for (int32_t i = 0; i < kAddends; ++i) {
      int64_t const(&strides)[4] = work.addends[i].strides;
      sources[i] = static_cast<T const*>(work.addends[i].data) + block.n * strides[0] +
                   c * strides[1] + outY * strides[2] + outX * strides[3];
    }
    target = static_cast<T*>(a.output) +
             ((block.n * a.channels + c) * 2 * a.height + outY) * 2 * a.width + outX;
  }

  // The weights of term t, into shared memory: a word holds those of two adjacent outputs.
  FADE_DEVICE void computeWeights(int32_t t) {
    uint32_t* const words = weightWords();
    for (int32_t pair = machine.thread(); pair < Of::kPairs; pair += Of::kThreads) {
      int32_t const outRow = pair / tileX;
      int32_t const x = block.x + pair % tileX, y = block.y + outRow / 2;
      float values[2][kTaps] = {};
      if (x < a.width && y < a.height) {
        tapWeights<Machine, T, kTaps, 1, 2>(a, block, t, x, y, 2 * x, 2 * y + outRow % 2, true,
                                            values);
      }
      FADE_UNROLL
      for (int32_t tap = 0; tap < kTaps; ++tap) {
        words[tap * Of::kPlaneWords + pair] =
            Machine::template pack<T>(values[0][tap], values[1][tap]);
      }
    }
  }

  // ... and from there into registers, as the product takes them: of output `row` of each group the
  // pixels 2 * column and 2 * column + 1 of each of the 5 rows of 8. The first of the 8 lies 2 left
  // of the group, so pixel p is tap p - row / 2 of the row, if that is one.
  FADE_DEVICE void holdWeights(uint32_t (&held)[kGroups][2][kSize]) const {
    int32_t const tap = 2 * column - row / 2;
    bool const isFirst = tap >= 0 && tap < kSize, isSecond = tap + 1 >= 0 && tap + 1 < kSize;
    FADE_UNROLL
    for (int32_t group = 0; group < kGroups; ++group) {
      FADE_UNROLL
      for (int32_t outRow = 0; outRow < 2; ++outRow) {
        uint32_t const* const words = weightWords() + (2 * tileY + outRow) * tileX + firstX +
                                      group * kGroupPixels + row / 2;
        FADE_UNROLL
        for (int32_t i = 0; i < kSize; ++i) {
          int32_t const plane = i * kSize + tap;
          uint32_t const first = isFirst ? words[plane * Of::kPlaneWords] : 0;
          uint32_t const second = isSecond ? words[(plane + 1) * Of::kPlaneWords] : 0;
          held[group][outRow][i] = row % 2 == 0 ? (first & 0xffffu) | second << 16
                                                : first >> 16 | (second & 0xffff0000u);
        }
      }
    }
  }

  FADE_DEVICE uint32_t* weightWords() const {
    return reinterpret_cast<uint32_t*>(shared + Of::kStageBytes);
  }

  // sums += the product of a stage and the weights of a term.
  FADE_DEVICE void multiply(int32_t stage, uint32_t const (&held)[kGroups][2][kSize],
                            float (&sums)[kGroups][2][4]) const {
    uint32_t const* lines[kSize];
    lines[0] = reinterpret_cast<uint32_t const*>(
        reinterpret_cast<T const*>(shared) + stage * Of::kStageElements + row * kChannelStride +
        tileY * pitch + firstX + Of::kMargin - 2 + 2 * column);
    FADE_UNROLL
    for (int32_t i = 1; i < kSize; ++i) lines[i] = lines[i - 1] + pitch / 2;
    FADE_UNROLL
    for (int32_t group = 0; group < kGroups; ++group) {
      uint32_t pixels[kSize][2];
      FADE_UNROLL
      for (int32_t i = 0; i < kSize; ++i) {
        pixels[i][0] = lines[i][group * (kGroupPixels / 2)];
        pixels[i][1] = lines[i][group * (kGroupPixels / 2) + 8 * kChannelStride / 2];
      }
      FADE_UNROLL
      for (int32_t outRow = 0; outRow < 2; ++outRow) {
        machine.template multiply<T>(sums[group][outRow], pixels, held[group][outRow]);
      }
    }
  }

  // Whether a quadruple of a step is there, and where it lies behind the thread's first.
  FADE_DEVICE bool isThere(int32_t c, int32_t quad) const {
    return isInside && c + row + 8 * Of::position(quad, 0).half < block.lastChannel;
  }
  FADE_DEVICE static int64_t offset(int32_t quad, int64_t plane, int64_t line) {
    Position const at = Of::position(quad, 0);
    return 8 * at.half * plane + at.row * line;
  }

  // Begins to read the addends of the next step, which starts with channel c. One that is the same
  // along x is a word of it repeated: in memory's order as well as in the product's.
  FADE_DEVICE void readAddends(int32_t c) {
    FADE_UNROLL
    for (int32_t i = 0; i < kAddends; ++i) {
      Addend const& addend = work.addends[i];
      FADE_UNROLL
      for (int32_t quad = 0; quad < kQuads; ++quad) {
        Pack<uint32_t, 4> pack = {};
        if (addend.data != nullptr && isThere(c, quad)) {
          T const* const from = sources[i] + offset(quad, addend.strides[1], addend.strides[2]);
          if (addend.strides[3] != 0) {
            pack = *reinterpret_cast<Pack<uint32_t, 4> const*>(from);
          } else {
            FADE_UNROLL
            for (int32_t e = 0; e < 4; ++e) pack.values[e] = Machine::join(*from, *from);
          }
        }
        FADE_UNROLL
        for (int32_t e = 0; e < 4; ++e) addends[i][quad][e] = pack.values[e];
      }
      sources[i] += kChannels * addend.strides[1];
    }
  }

  // Between memory's order and the product's: thread i's word j of a quadruple becomes thread j's
  // word i, of the four threads that share a row.
  FADE_DEVICE void transpose(uint32_t (&words)[4]) const {
    FADE_UNROLL
    for (int32_t mask = 1; mask <= 2; mask *= 2) {
      bool const isUpper = (column & mask) != 0;
      FADE_UNROLL
      for (int32_t i = 0; i < 4; ++i) {
        if ((i & mask) != 0) continue;
        uint32_t const other = machine.exchange(isUpper ? words[i] : words[i + mask], mask);
        if (isUpper) {
          words[i] = other;
        } else {
          words[i + mask] = other;
        }
      }
    }
  }

  // Writes sums and addends of a step.
  FADE_DEVICE void finish(int32_t c, float const (&sums)[kGroups][2][4]) {
    FADE_UNROLL
    for (int32_t quad = 0; quad < kQuads; ++quad) {
      FADE_UNROLL
      for (int32_t i = 0; i < kAddends; ++i) transpose(addends[i][quad]);
      FADE_UNROLL
      for (int32_t e = 0; e < 4; ++e) {
        Position const at = Of::position(quad, e);
        float values[kAddends][2];
        FADE_UNROLL
        for (int32_t i = 0; i < kAddends; ++i) {
          Machine::template unpack<T>(addends[i][quad][e], values[i]);
        }
        FADE_UNROLL
        for (int32_t i = 0; i < 2; ++i) {
          values[0][i] = sums[at.group][at.row][2 * at.half + i] + gates[at.group] * values[0][i];
          if (kAddends == 2) values[0][i] += values[kAddends - 1][i];
        }
        addends[0][quad][e] = Machine::template pack<T>(values[0][0], values[0][1]);
      }
      transpose(addends[0][quad]);
    }
    int64_t const line = 2 * a.width, plane = 2 * a.height * line;
    FADE_UNROLL
    for (int32_t quad = 0; quad < kQuads; ++quad) {
      Pack<uint32_t, 4> pack;
      FADE_UNROLL
      for (int32_t e = 0; e < 4; ++e) pack.values[e] = addends[0][quad][e];
      if (isThere(c, quad)) {
        *reinterpret_cast<Pack<uint32_t, 4>*>(target + offset(quad, plane, line)) = pack;
      }
    }
    target += kChannels * plane;
  }

  // All channels of the block, by all of its threads together.
  FADE_DEVICE void run() {
    copies.next();
    readAddends(block.firstChannel);
    prepare();
    copies.next();
    int32_t stage = 0;
    for (int32_t c = block.firstChannel; c < block.lastChannel; c += kChannels) {
      float sums[kGroups][2][4] = {};
      FADE_UNROLL
      for (int32_t t = 0; t < kMostTerms; ++t) {
        if (t > 0 && t >= a.terms) break;
        machine.template wait<1>();  // for all copies but those of the next step
        machine.sync();  // everybody's, and the stage that is filled next no longer read
        copies.next();
        multiply(stage, weights[t], sums);
        stage = stage == Of::kStages - 1 ? 0 : stage + 1;
      }
      finish(c, sums);
      readAddends(c + kChannels);
    }
  }

  // Weights of all terms and gates.
  FADE_DEVICE void prepare() {
    FADE_UNROLL
    for (int32_t t = 0; t < kMostTerms; ++t) {
      if (t > 0 && t >= a.terms) break;
      computeWeights(t);
      machine.sync();
      holdWeights(weights[t]);
      machine.sync();
    }
    FADE_UNROLL
    for (int32_t group = 0; group < kGroups; ++group) {
      int32_t const x = block.x + firstX + group * kGroupPixels + column, y = block.y + tileY;
      gates[group] = x < a.width && y < a.height ? gateAt<Machine, T>(a, block.n, x, y) : 0;
    }
  }
};

}  // namespace fade::cuda
