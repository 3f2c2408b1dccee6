#include "fade_cuda.h"

#include "fade_cuda_types.h"

namespace fade {

cudaError_t launch(UpsampleArguments const& arguments, cudaStream_t stream) noexcept {
  if (!cuda::isValid(arguments)) return cudaErrorInvalidValue;
  if (arguments.batch == 0 || arguments.channels == 0 || arguments.height == 0 ||
      arguments.width == 0) {
    return cudaSuccess;
  }
  cuda::Work const work = cuda::workOf(arguments);
  switch (arguments.type) {
    case DataType::kFloat32: return cuda::launchFloat32(work, stream);
    case DataType::kFloat16: return cuda::launchFloat16(work, stream);
    case DataType::kBfloat16: return cuda::launchBfloat16(work, stream);
  }
  return cudaErrorInvalidValue;
}

}  // namespace fade
