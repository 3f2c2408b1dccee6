#include "fade_cuda_launch.h"
#include "fade_cuda_types.h"

namespace fade::cuda {

cudaError_t launchBfloat16(Work const& work, cudaStream_t stream) {
  return choose(work, GpuLauncher<__nv_bfloat16>{work, stream});
}

}  // namespace fade::cuda
