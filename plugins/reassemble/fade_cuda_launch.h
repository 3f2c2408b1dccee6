// The kernels of one storage type, and their launches; fade_cuda_*.cu instantiate them, one type
// each, so that they compile side by side.
#pragma once

#include <limits>

#include "fade_cuda_choice.h"
#include "fade_cuda_general.h"
#include "fade_cuda_gpu.h"
#include "fade_cuda_matrix.h"

namespace fade::cuda {

template <typename T, int32_t K, int32_t S, int32_t kHeld>
__global__ void __launch_bounds__(General<Gpu, T, K, S, kHeld>::kThreads,
                                  General<Gpu, T, K, S, kHeld>::kBlocks)
    general(__grid_constant__ Work const work, __grid_constant__ Grid const grid,
            int64_t const first, bool const isAligned) {
  using Kernel = General<Gpu, T, K, S, kHeld>;
  __shared__ alignas(16) unsigned char shared[Kernel::kSharedBytes];
  Gpu gpu;
  Block const block = blockAt(work.arguments, grid, first + blockIdx.x);
  Kernel(gpu, work, block, isAligned, shared).run();
}

template <typename T, int32_t kMostTerms, int32_t kAddends>
__global__ void __launch_bounds__(Matrix<Gpu, T, kMostTerms, kAddends>::kThreads,
                                  Matrix<Gpu, T, kMostTerms, kAddends>::kBlocks)
    matrix(__grid_constant__ Work const work, __grid_constant__ Grid const grid,
           int64_t const first) {
  using Kernel = Matrix<Gpu, T, kMostTerms, kAddends>;
  __shared__ alignas(16) unsigned char shared[Kernel::kSharedBytes];
  Gpu gpu;
  Block const block = blockAt(work.arguments, grid, first + blockIdx.x);
  Kernel(gpu, work, grid, block, shared).run();
}

// The launcher that choose() wants.
template <typename T>
struct GpuLauncher {
  static constexpr bool kHasMatrix = !std::is_same_v<T, float>;

  Work const& work;
  cudaStream_t stream;

  // Products of bfloat16 came with compute capability 8.0. Asks the device of this thread, which is
  // no operation of a stream, so a capture goes on.
  bool hasMatrixUnits() const {
    if (std::is_same_v<T, __half>) return true;
    int device = 0, major = 0;
    return cudaGetDevice(&device) == cudaSuccess &&
           cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) ==
               cudaSuccess &&
           major >= 8;
  }

  template <int32_t K, int32_t S, int32_t kHeld>
  cudaError_t general() const {
    using Kernel = General<Gpu, T, K, S, kHeld>;
    Grid const grid = gridFor(work.arguments, Kernel::division());
    bool const isAligned = Kernel::isAligned(work);
    return launchAll(grid, [&](int64_t first, unsigned blocks) {
      cuda::general<T, K, S, kHeld>
          <<<blocks, Kernel::kThreads, 0, stream>>>(work, grid, first, isAligned);
    });
  }

  template <int32_t kMostTerms, int32_t kAddends>
  cudaError_t matrix() const {
    using Kernel = Matrix<Gpu, T, kMostTerms, kAddends>;
    Grid const grid = gridFor(work.arguments, Kernel::division(work.arguments));
    return launchAll(grid, [&](int64_t first, unsigned blocks) {
      cuda::matrix<T, kMostTerms, kAddends>
          <<<blocks, Kernel::kThreads, 0, stream>>>(work, grid, first);
    });
  }

 private:
  // One launch, but of more blocks than one can have.
  template <typename Launch>
  static cudaError_t launchAll(Grid const& grid, Launch const& launch) {
    constexpr int64_t kMostBlocks = std::numeric_limits<int32_t>::max();
    for (int64_t first = 0; first < grid.blocks; first += kMostBlocks) {
      launch(first, static_cast<unsigned>(std::min(grid.blocks - first, kMostBlocks)));
    }
    return cudaGetLastError();
  }
};

}  // namespace fade::cuda
