// Holds ort_api.h against the real header while compiling; built where -DONNXRUNTIME_INCLUDE=DIR
// names its folder.
#include "ort_api.h"

#include <onnxruntime_c_api.h>

#include <type_traits>

namespace {

// One type for what is the same in memory on both sides: an enum is its integer, and structures
// that ort_api.h declares again are the real ones.
template <typename T, bool isEnum = std::is_enum_v<T>>
struct Plain {
  using Type = T;
};
template <typename T>
struct Plain<T, true> {
  using Type = std::underlying_type_t<T>;
};
template <typename T>
struct Plain<T const, false> {
  using Type = typename Plain<T>::Type const;
};
template <typename T>
struct Plain<T*, false> {
  using Type = typename Plain<T>::Type*;
};
template <typename R, typename... A>
struct Plain<R(A...), false> {
  using Type = typename Plain<R>::Type(typename Plain<A>::Type...);
};
template <typename R, typename... A>
struct Plain<R(A...) noexcept, false> : Plain<R(A...)> {};
template <>
struct Plain<fade::ort::Api, false> {
  using Type = OrtApi;
};
template <>
struct Plain<fade::ort::CustomOp, false> {
  using Type = OrtCustomOp;
};
template <>
struct Plain<fade::ort::Allocator, false> {
  using Type = OrtAllocator;
};

template <typename Ours, typename Theirs>
constexpr bool kSame = std::is_same_v<typename Plain<Ours>::Type, typename Plain<Theirs>::Type>;

#define FADE_HOLD(ours, theirs, member)                                                    \
  static_assert(offsetof(ours, member) == offsetof(theirs, member), #member " has moved"); \
  static_assert(kSame<decltype(ours::member), decltype(theirs::member)>, #member " differs")
#define FADE_HOLD_API(member) FADE_HOLD(fade::ort::Api, OrtApi, member)
#define FADE_HOLD_OP(member) FADE_HOLD(fade::ort::CustomOp, OrtCustomOp, member)

FADE_HOLD_API(CreateStatus);
FADE_HOLD_API(GetErrorMessage);
FADE_HOLD_API(CreateCustomOpDomain);
FADE_HOLD_API(CustomOpDomain_Add);
FADE_HOLD_API(AddCustomOpDomain);
FADE_HOLD_API(GetTensorMutableData);
FADE_HOLD_API(CreateTensorTypeAndShapeInfo);
FADE_HOLD_API(SetTensorElementType);
FADE_HOLD_API(SetDimensions);
FADE_HOLD_API(GetTensorElementType);
FADE_HOLD_API(GetDimensionsCount);
FADE_HOLD_API(GetDimensions);
FADE_HOLD_API(GetSymbolicDimensions);
FADE_HOLD_API(GetTensorTypeAndShape);
FADE_HOLD_API(CreateCpuMemoryInfo);
FADE_HOLD_API(KernelInfoGetAttribute_int64);
FADE_HOLD_API(KernelInfoGetAttribute_string);
FADE_HOLD_API(KernelContext_GetInput);
FADE_HOLD_API(KernelContext_GetOutput);
FADE_HOLD_API(ReleaseStatus);
FADE_HOLD_API(ReleaseMemoryInfo);
FADE_HOLD_API(ReleaseTensorTypeAndShapeInfo);
FADE_HOLD_API(ReleaseAllocator);
FADE_HOLD_API(KernelContext_GetGPUComputeStream);
FADE_HOLD_API(KernelContext_GetAllocator);
FADE_HOLD_API(ShapeInferContext_GetInputTypeShape);
FADE_HOLD_API(ShapeInferContext_SetOutputTypeShape);
FADE_HOLD_API(SetSymbolicDimensions);
FADE_HOLD_API(KernelContext_ParallelFor);

FADE_HOLD_OP(version);
FADE_HOLD_OP(CreateKernel);
FADE_HOLD_OP(GetName);
FADE_HOLD_OP(GetExecutionProviderType);
FADE_HOLD_OP(GetInputType);
FADE_HOLD_OP(GetInputTypeCount);
FADE_HOLD_OP(GetOutputType);
FADE_HOLD_OP(GetOutputTypeCount);
FADE_HOLD_OP(KernelCompute);
FADE_HOLD_OP(KernelDestroy);
FADE_HOLD_OP(GetInputCharacteristic);
FADE_HOLD_OP(GetOutputCharacteristic);
FADE_HOLD_OP(GetInputMemoryType);
FADE_HOLD_OP(GetVariadicInputMinArity);
FADE_HOLD_OP(GetVariadicInputHomogeneity);
FADE_HOLD_OP(GetVariadicOutputMinArity);
FADE_HOLD_OP(GetVariadicOutputHomogeneity);
FADE_HOLD_OP(CreateKernelV2);
FADE_HOLD_OP(KernelComputeV2);
FADE_HOLD_OP(InferOutputShapeFn);
FADE_HOLD_OP(GetStartVersion);
FADE_HOLD_OP(GetEndVersion);
FADE_HOLD_OP(GetMayInplace);
FADE_HOLD_OP(ReleaseMayInplace);
FADE_HOLD_OP(GetAliasMap);
FADE_HOLD_OP(ReleaseAliasMap);

FADE_HOLD(fade::ort::ApiBase, OrtApiBase, GetApi);
FADE_HOLD(fade::ort::ApiBase, OrtApiBase, GetVersionString);
FADE_HOLD(fade::ort::Allocator, OrtAllocator, version);
FADE_HOLD(fade::ort::Allocator, OrtAllocator, Alloc);
FADE_HOLD(fade::ort::Allocator, OrtAllocator, Free);

#define FADE_HOLD_VALUE(ours, theirs) \
  static_assert(static_cast<int>(fade::ort::ours) == theirs, #theirs)
FADE_HOLD_VALUE(ErrorCode::kFail, ORT_FAIL);
FADE_HOLD_VALUE(ErrorCode::kInvalidArgument, ORT_INVALID_ARGUMENT);
FADE_HOLD_VALUE(ElementType::kUndefined, ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED);
FADE_HOLD_VALUE(ElementType::kFloat32, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT);
FADE_HOLD_VALUE(ElementType::kFloat16, ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16);
FADE_HOLD_VALUE(AllocatorType::kArena, OrtArenaAllocator);
FADE_HOLD_VALUE(MemoryType::kDefault, OrtMemTypeDefault);
FADE_HOLD_VALUE(Characteristic::kRequired, INPUT_OUTPUT_REQUIRED);
static_assert(ORT_API_VERSION >= fade::ort::kApiVersion, "a header older than what we ask for");

}  // namespace
