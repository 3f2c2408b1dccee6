// libfade_onnxruntime_cuda: the operators on ONNX Runtime's CUDA provider. FadeHead runs from its
// function body there.
#include <stdexcept>
#include <string>

#include "custom_op.h"
#include "fade_cuda.h"

namespace fade {
namespace {

Provider const kCuda = {
    "CUDAExecutionProvider",
    runsOnGpu,
    [](Call const& call) {
      void* stream = nullptr;
      check(call.api, call.api.KernelContext_GetGPUComputeStream(call.context, &stream));
      cudaError_t const status = launch(upsampleArguments(call), static_cast<cudaStream_t>(stream));
      if (status == cudaSuccess) return;
      throw std::runtime_error(call.type.name + ": CUDA says: " + cudaGetErrorString(status));
    },
};

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
  static std::string const text = fade::contractText(fade::kCuda.computes);
  return text.c_str();
}
