// Tiles of tensors, and the few ways that kernels read them.
#pragma once

#include "vector.h"

namespace fade {
namespace FADE_LEVEL {

constexpr int64_t kAlignment = 64;  // of scratch, in bytes

// Decoder pixels of one image, inside it.
struct Tile {
  int64_t image, y, x, rows, columns;
};

template <typename T>
FADE_INLINE T const* at(void const* tensor, int64_t element) {
  return static_cast<T const*>(tensor) + element;
}

// Exactly kCount values to floats.
template <int kCount>
FADE_INLINE void copyFull(float* to, float const* from) {
  __builtin_memcpy(to, from, kCount * sizeof(float));
}
template <int kCount>
FADE_INLINE void copyFull(float* to, Half const* from) {
  FADE_UNROLL for (int x = 0; x < kCount; x += kLanes) {
    constexpr int kPart = kCount < kLanes ? kCount : kLanes;
    static_assert(kCount % kPart == 0, "whole vectors, or less than one");
    HalfVector bits = {};
    __builtin_memcpy(&bits, from + x, kPart * sizeof(Half));
    Vector const value = widen(bits);
    __builtin_memcpy(to + x, &value, kPart * sizeof(float));
  }
}

// Lanes x .. x + kLanes of a row of `width` values, zeros outside; nothing outside is read.
FADE_INLINE Vector loadWindow(float const* row, int64_t x, int64_t width) {
  if (x >= 0 && x + kLanes <= width) return load(row + x);
#if defined(__AVX512F__)
  uint32_t const below = static_cast<uint32_t>(smaller(larger(-x, 0), kLanes));
  uint32_t const upto = static_cast<uint32_t>(smaller(larger(width - x, 0), kLanes));
  uint32_t const mask = ((1u << upto) - 1u) & ~((1u << below) - 1u);
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>(mask),
                               reinterpret_cast<float const*>(reinterpret_cast<uintptr_t>(row) +
                                                              static_cast<uintptr_t>(x * 4)));
#else
  Vector value = {};
  for (int lane = 0; lane < kLanes; ++lane) {
    if (x + lane >= 0 && x + lane < width) value[lane] = row[x + lane];
  }
  return value;
#endif
}
FADE_INLINE Vector loadWindow(Half const* row, int64_t x, int64_t width) {
  if (x >= 0 && x + kLanes <= width) return load(row + x);
  HalfVector bits = {};
  for (int lane = 0; lane < kLanes; ++lane) {
    if (x + lane >= 0 && x + lane < width) bits[lane] = row[x + lane].bits;
  }
  return widen(bits);
}

}  // namespace FADE_LEVEL
}  // namespace fade
