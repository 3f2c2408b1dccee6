// The launches of each storage type, compiled apart.
#pragma once

#include <cuda_runtime_api.h>

#include "fade_cuda_work.h"

namespace fade::cuda {

// For valid arguments of that type whose output is not empty.
cudaError_t launchFloat32(Work const& work, cudaStream_t stream);
cudaError_t launchFloat16(Work const& work, cudaStream_t stream);
cudaError_t launchBfloat16(Work const& work, cudaStream_t stream);

}  // namespace fade::cuda
