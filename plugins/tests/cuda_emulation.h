// A launch of the CUDA kernel on the CPU: its blocks and threads one after the other.
#pragma once

#include <cstdint>

#ifdef __FLT16_MAX__
namespace fade::cuda {  // before the kernel's templates, which find overloads by their order
inline float toFloat(_Float16 value) { return static_cast<float>(value); }
inline void store(_Float16* to, float value) { *to = static_cast<_Float16>(value); }
}  // namespace fade::cuda
#endif

#include "fade_cuda_kernel.h"

namespace fade::cuda {

// A launch of `gridSize` blocks, one thread after the other.
template <typename T, int32_t K, int32_t S, bool kIsSeveral>
void emulate(UpsampleArguments const& a, int64_t gridSize) {
  using Of = Shape<K, S, kIsSeveral>;
  Grid const grid = gridFor(a, Of::kParts);
  bool const isAligned = rowsAreAligned(a, sizeof(T) * Of::kColumns);
  for (int64_t blockIndex = 0; blockIndex < gridSize; ++blockIndex) {
    for (int64_t index = blockIndex; index < grid.blocks; index += gridSize) {
      Block const block = blockAt(a, grid, index);
      for (int32_t y = 0; y < kThreadsY; ++y) {
        for (int32_t x = 0; x < kThreadsX; ++x)
          Thread<T, K, S, kIsSeveral>(a, block, isAligned, x, y).run();
      }
    }
  }
}

template <typename T, int32_t K, int32_t S>
void emulate(UpsampleArguments const& a, int64_t gridSize) {
  if (a.terms > 1) return emulate<T, K, S, true>(a, gridSize);
  return emulate<T, K, S, false>(a, gridSize);
}

template <typename T, int32_t K>
void emulate(UpsampleArguments const& a, int64_t gridSize) {
  if (a.scale == 1) return emulate<T, K, 1>(a, gridSize);
  if (a.scale == 2) return emulate<T, K, 2>(a, gridSize);
  return emulate<T, K, 4>(a, gridSize);
}

template <typename T>
void emulate(UpsampleArguments const& a, int64_t gridSize) {
  if (a.kernelSize == 1) return emulate<T, 1>(a, gridSize);
  if (a.kernelSize == 3) return emulate<T, 3>(a, gridSize);
  if (a.kernelSize == 5) return emulate<T, 5>(a, gridSize);
  return emulate<T, 7>(a, gridSize);
}

}  // namespace fade::cuda
