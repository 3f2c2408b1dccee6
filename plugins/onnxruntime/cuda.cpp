// libfade_onnxruntime_cuda: the operators on ONNX Runtime's CUDA provider. FadeHead runs from its
// function body there.
#include <stdexcept>
#include <string>

#include "custom_op.h"
#include "fade_cuda.h"
#include "upsample_arguments.h"

namespace fade {
namespace {

Provider const kCuda = {
    "CUDAExecutionProvider",
    [](OperatorKind kind) { return kind != OperatorKind::kHead; },
    [](Call const& call) {
      void* stream = nullptr;
      check(call.api, call.api.KernelContext_GetGPUComputeStream(call.context, &stream));
      cudaError_t const status = launch(upsampleArguments(call), static_cast<cudaStream_t>(stream));
      if (status == cudaSuccess) return;
      throw std::runtime_error(call.type.name + ": CUDA says: " + cudaGetErrorString(status));
    },
};

// A line for each operator, as contractText() has them.
std::string offeredText() {
  std::string text = contractText();
  size_t const head = text.find("FadeHead ");
  return text.erase(head, text.find('\n', head) + 1 - head);
}

}  // namespace
}  // namespace fade

#define FADE_EXPORT extern "C" __attribute__((visibility("default")))

// ONNX Runtime's register_custom_ops_library calls this.
FADE_EXPORT OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                         fade::ort::ApiBase const* base) {
  return fade::registerNodeTypes(options, base, fade::kCuda);
}

// Version of the operators.
FADE_EXPORT int32_t fade_onnxruntime_version() { return fade::kVersion; }

// The operators, one to a line: "FadeX input:[N,C,H,W] ... -> [N,C,sH,sW] kernel_size=5 ...".
FADE_EXPORT char const* fade_onnxruntime_operators() {
  static std::string const text = fade::offeredText();
  return text.c_str();
}

// For benchmarks/gpu_check.py: a launch without ONNX Runtime. The caller states how large it takes
// the arguments to be, so that a layout of its own that is wrong reads nothing. A cudaError_t.
FADE_EXPORT int32_t fade_cuda_launch(fade::UpsampleArguments const* arguments, uint64_t bytes,
                                     void* stream) {
  if (bytes != sizeof(*arguments)) return cudaErrorInvalidValue;
  return fade::launch(*arguments, static_cast<cudaStream_t>(stream));
}

// What a status of fade_cuda_launch means.
FADE_EXPORT char const* fade_cuda_error(int32_t status) {
  return cudaGetErrorString(static_cast<cudaError_t>(status));
}
