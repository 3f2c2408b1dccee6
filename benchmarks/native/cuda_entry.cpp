// libfade_cuda_kernels: the CUDA kernels for benchmarks/gpu_check.py and nobody else. Not installed.
#include "fade_cuda.h"

#define FADE_EXPORT extern "C" __attribute__((visibility("default")))

// The caller states how large it takes the arguments to be, so that a layout of its own that is wrong reads nothing.
// A cudaError_t.
FADE_EXPORT int32_t fade_cuda_launch(fade::UpsampleArguments const* arguments, uint64_t bytes, void* stream) {
  if (bytes != sizeof(*arguments)) return cudaErrorInvalidValue;
  return fade::launch(*arguments, static_cast<cudaStream_t>(stream));
}

// What a status of fade_cuda_launch means.
FADE_EXPORT char const* fade_cuda_error(int32_t status) { return cudaGetErrorString(static_cast<cudaError_t>(status)); }
