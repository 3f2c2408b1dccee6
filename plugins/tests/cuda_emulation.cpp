// What libfade_onnxruntime_cuda has for benchmarks/gpu_check.py, without a GPU: so that a test can
// hold the way from a tensor of PyTorch to the kernel's arguments.
#include "cuda_emulation.h"

#define FADE_EXPORT extern "C" __attribute__((visibility("default")))

FADE_EXPORT int32_t fade_cuda_launch(fade::UpsampleArguments const* arguments, uint64_t bytes,
                                     void* /* stream */) {
  constexpr int32_t kInvalidValue = 1;
  if (bytes != sizeof(*arguments) || !fade::cuda::isValid(*arguments)) return kInvalidValue;
  if (arguments->type == fade::DataType::kFloat32) {
    fade::cuda::emulate<float>(*arguments, /* gridSize = */ 1);
    return 0;
  }
#ifdef __FLT16_MAX__
  if (arguments->type == fade::DataType::kFloat16) {
    fade::cuda::emulate<_Float16>(*arguments, /* gridSize = */ 1);
    return 0;
  }
#endif
  return kInvalidValue;
}

FADE_EXPORT char const* fade_cuda_error(int32_t /* status */) { return "invalid argument"; }
