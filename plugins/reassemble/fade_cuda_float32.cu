#include "fade_cuda_launch.h"
#include "fade_cuda_types.h"

namespace fade::cuda {

cudaError_t launchFloat32(Work const& work, cudaStream_t stream) {
  return choose(work, GpuLauncher<float>{work, stream});
}

}  // namespace fade::cuda
