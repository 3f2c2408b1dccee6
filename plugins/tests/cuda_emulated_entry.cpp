// What libfade_cuda_kernels has for Python (benchmarks/native/cuda_entry.cpp), without a GPU: so that a
// test can hold the way from a tensor of PyTorch to the kernel's arguments.
#include "cuda_emulation.h"
#include "fade_cuda_work.h"

#define FADE_EXPORT extern "C" __attribute__((visibility("default")))

FADE_EXPORT int32_t fade_cuda_launch(fade::UpsampleArguments const* arguments, uint64_t bytes, void* /* stream */) {
  constexpr int32_t kInvalidValue = 1;
  if (bytes != sizeof(*arguments) || !fade::cuda::isValid(*arguments)) return kInvalidValue;
  fade::cuda::emulate(*arguments);
  return 0;
}

FADE_EXPORT char const* fade_cuda_error(int32_t /* status */) { return "invalid argument"; }
