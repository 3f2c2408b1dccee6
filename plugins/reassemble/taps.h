// From kernel logits to the weights of the taps: shared by the upsampler and the head.
#pragma once

#include "vector.h"

namespace fade {
namespace FADE_LEVEL {

// Softmax over kTaps vectors `stride` floats apart, each lane for itself, times `factor`; in place.
// As PyTorch's: NaN or +inf among the logits, or nothing but -inf, gives NaN.
template <int kTaps>
FADE_INLINE void softmaxTaps(float* taps, int64_t stride, Vector factor) {
  Vector values[kTaps];  // in registers with AVX-512
  Vector most = splat(-__builtin_inff());
  FADE_UNROLL for (int k = 0; k < kTaps; ++k) {
    values[k] = loadAligned(taps + k * stride);
    most = maximum(values[k], most);
  }
  Vector sum = {};
  FADE_UNROLL for (int k = 0; k < kTaps; ++k) {
    // The difference first: finite logits of any size stay finite.
    values[k] = exp2((values[k] - most) * splat(kLog2E));
    sum += values[k];
  }
  Vector const scaled = factor / sum;
  FADE_UNROLL for (int k = 0; k < kTaps; ++k) storeAligned(taps + k * stride, values[k] * scaled);
}

template <int kTaps>
FADE_INLINE void multiplyTaps(float* taps, int64_t stride, Vector factor) {
  for (int k = 0; k < kTaps; ++k) storeAligned(taps + k * stride, loadAligned(taps + k * stride) * factor);
}

}  // namespace FADE_LEVEL
}  // namespace fade
