// The tap weights of the outputs of one thread, in registers: softmax in float32.
#pragma once

#include <cmath>

#include "fade_cuda_work.h"

namespace fade::cuda {

// Adjacent elements in one access.
template <typename T, int32_t N>
struct alignas(sizeof(T) * N) Pack {
  T values[N];
};

template <typename T, int32_t N>
FADE_DEVICE void loadRow(T const* from, bool isAligned, Pack<T, N>& to) {
  if (isAligned) {
    to = *reinterpret_cast<Pack<T, N> const*>(from);
  } else {
    FADE_UNROLL
    for (int32_t i = 0; i < N; ++i) to.values[i] = from[i];
  }
}

template <typename T, int32_t N>
FADE_DEVICE void storeRow(T* to, bool isAligned, Pack<T, N> const& from) {
  if (isAligned) {
    *reinterpret_cast<Pack<T, N>*>(to) = from;
  } else {
    FADE_UNROLL
    for (int32_t i = 0; i < N; ++i) to[i] = from.values[i];
  }
}

FADE_DEVICE float sigmoid(float x) { return 1.0f / (1.0f + expf(-x)); }

// The weight tensor at decoder pixel (x, y) of term t.
template <typename Machine, typename T>
FADE_DEVICE float weightAt(UpsampleArguments const& a, int64_t n, int64_t t, int32_t x, int32_t y) {
  int64_t const index = ((n * a.terms + t) * a.height + y) * a.width + x;
  return Machine::toFloat(static_cast<T const*>(a.weight)[index]);
}

// What the first addend is multiplied by.
template <typename Machine, typename T>
FADE_DEVICE float gateAt(UpsampleArguments const& a, int64_t n, int32_t x, int32_t y) {
  return a.encoder == nullptr ? 1.0f : sigmoid(weightAt<Machine, T>(a, n, 0, x, y));
}

// w_t of a decoder pixel.
template <typename Machine, typename T>
FADE_DEVICE float shareAt(UpsampleArguments const& a, int64_t n, int64_t t, int32_t x, int32_t y) {
  if (a.weightKind == DecoderWeight::kOne) return 1;
  float const weight = weightAt<Machine, T>(a, n, t, x, y);
  if (a.weightKind == DecoderWeight::kGiven) return weight;
  return sigmoid(-weight);  // 1 - sigmoid(weight), without cancellation
}

// exp(logit - largest) in place; their sum.
template <typename Machine, int32_t kTaps>
FADE_DEVICE float exponentiate(float (&logits)[kTaps]) {
  constexpr float kLog2OfE = 1.44269504f;
  float largest = logits[0];
  FADE_UNROLL
  for (int32_t tap = 1; tap < kTaps; ++tap) largest = fmaxf(largest, logits[tap]);
  float sum = 0;
  FADE_UNROLL
  for (int32_t tap = 0; tap < kTaps; ++tap) {
    logits[tap] = Machine::exp2((logits[tap] - largest) * kLog2OfE);
    sum += logits[tap];
  }
  return sum;
}

// weights[row * kColumns + column][tap] of the outputs from (outX, outY) on, which lie under
// decoder pixel (x, y), in term t: softmax over the taps, times w_t.
template <typename Machine, typename T, int32_t kTaps, int32_t kRows, int32_t kColumns>
FADE_DEVICE void tapWeights(UpsampleArguments const& a, Block const& block, int64_t t, int32_t x,
                            int32_t y, int32_t outX, int32_t outY, bool isAligned,
                            float (&weights)[kRows * kColumns][kTaps]) {
  int64_t const plane = a.height * a.width, outPlane = plane * a.scale * a.scale;
  int64_t const outWidth = a.width * a.scale;
  int64_t const lane = (block.n * a.terms + t) * a.groups + block.group;
  T const* const kernels =
      static_cast<T const*>(a.kernels) + lane * kTaps * outPlane + outY * outWidth + outX;
  FADE_UNROLL
  for (int32_t tap = 0; tap < kTaps; ++tap) {
    FADE_UNROLL
    for (int32_t row = 0; row < kRows; ++row) {
      Pack<T, kColumns> values;
      loadRow(kernels + tap * outPlane + row * outWidth, isAligned, values);
      FADE_UNROLL
      for (int32_t i = 0; i < kColumns; ++i) {
        weights[row * kColumns + i][tap] = Machine::toFloat(values.values[i]);
      }
    }
  }
  if (a.decoderLogits != nullptr) {
    T const* const logits = static_cast<T const*>(a.decoderLogits) +
                            (block.n * a.terms + t) * kTaps * plane + y * a.width + x;
    FADE_UNROLL
    for (int32_t tap = 0; tap < kTaps; ++tap) {
      float const value = Machine::toFloat(logits[tap * plane]);
      FADE_UNROLL
      for (int32_t i = 0; i < kRows * kColumns; ++i) weights[i][tap] += value;
    }
  }
  float const share = shareAt<Machine, T>(a, block.n, t, x, y);
  FADE_UNROLL
  for (int32_t i = 0; i < kRows * kColumns; ++i) {
    float factor = share;
    if (a.softmax) factor = share / exponentiate<Machine, kTaps>(weights[i]);
    FADE_UNROLL
    for (int32_t tap = 0; tap < kTaps; ++tap) weights[i][tap] *= factor;
  }
}

}  // namespace fade::cuda
