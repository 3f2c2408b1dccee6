#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <algorithm>
#include <limits>

#include "fade_cuda.h"

namespace fade::cuda {

// Declared before the kernel's templates, which know only the overloads that stand above them.
__host__ __device__ __forceinline__ float toFloat(__half value) { return __half2float(value); }
__host__ __device__ __forceinline__ float toFloat(__nv_bfloat16 value) {
  return __bfloat162float(value);
}
__host__ __device__ __forceinline__ void store(__half* to, float value) {
  *to = __float2half_rn(value);
}
__host__ __device__ __forceinline__ void store(__nv_bfloat16* to, float value) {
  *to = __float2bfloat16_rn(value);
}

}  // namespace fade::cuda

#include "fade_cuda_kernel.h"

namespace fade {
namespace {

template <typename T, int32_t K, int32_t S, bool kIsSeveral>
__global__ void __launch_bounds__(cuda::kThreadsX* cuda::kThreadsY)
    upsample(UpsampleArguments const arguments, cuda::Grid const grid, bool const isAligned) {
  for (int64_t index = blockIdx.x; index < grid.blocks; index += gridDim.x) {
    cuda::Block const block = cuda::blockAt(arguments, grid, index);
    cuda::Thread<T, K, S, kIsSeveral>(arguments, block, isAligned,
                                      static_cast<int32_t>(threadIdx.x),
                                      static_cast<int32_t>(threadIdx.y))
        .run();
  }
}

template <typename T, int32_t K, int32_t S, bool kIsSeveral>
cudaError_t launchFor(UpsampleArguments const& arguments, cudaStream_t stream) {
  using Of = cuda::Shape<K, S, kIsSeveral>;
  cuda::Grid const grid = cuda::gridFor(arguments, Of::kParts);
  bool const isAligned = cuda::rowsAreAligned(arguments, sizeof(T) * Of::kColumns);
  constexpr int64_t kMostBlocks = std::numeric_limits<int32_t>::max();
  dim3 const blocks(static_cast<unsigned>(std::min(grid.blocks, kMostBlocks)));
  dim3 const threads(cuda::kThreadsX, cuda::kThreadsY);
  upsample<T, K, S, kIsSeveral><<<blocks, threads, 0, stream>>>(arguments, grid, isAligned);
  return cudaGetLastError();
}

template <typename T, int32_t K, int32_t S>
cudaError_t launchFor(UpsampleArguments const& arguments, cudaStream_t stream) {
  return arguments.terms > 1 ? launchFor<T, K, S, true>(arguments, stream)
                             : launchFor<T, K, S, false>(arguments, stream);
}

template <typename T, int32_t K>
cudaError_t launchFor(UpsampleArguments const& arguments, cudaStream_t stream) {
  switch (arguments.scale) {
    case 1: return launchFor<T, K, 1>(arguments, stream);
    case 2: return launchFor<T, K, 2>(arguments, stream);
    case 4: return launchFor<T, K, 4>(arguments, stream);
    default: return cudaErrorInvalidValue;
  }
}

template <typename T>
cudaError_t launchFor(UpsampleArguments const& arguments, cudaStream_t stream) {
  switch (arguments.kernelSize) {
    case 1: return launchFor<T, 1>(arguments, stream);
    case 3: return launchFor<T, 3>(arguments, stream);
    case 5: return launchFor<T, 5>(arguments, stream);
    case 7: return launchFor<T, 7>(arguments, stream);
    default: return cudaErrorInvalidValue;
  }
}

}  // namespace

cudaError_t launch(UpsampleArguments const& arguments, cudaStream_t stream) noexcept {
  if (!cuda::isValid(arguments)) return cudaErrorInvalidValue;
  if (arguments.batch == 0 || arguments.channels == 0 || arguments.height == 0 ||
      arguments.width == 0) {
    return cudaSuccess;
  }
  if (arguments.type == DataType::kFloat32) return launchFor<float>(arguments, stream);
  if (arguments.type == DataType::kFloat16) return launchFor<__half>(arguments, stream);
  if (arguments.type == DataType::kBfloat16) return launchFor<__nv_bfloat16>(arguments, stream);
  return cudaErrorInvalidValue;
}

}  // namespace fade
