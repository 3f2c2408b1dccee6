// What we use of ONNX Runtime's C interface, declared by ourselves: no onnxruntime wheel holds its
// headers, and a compiler should be all that building needs.
//
// The interface is one table of function pointers that only ever grows at its end, so a slot keeps
// its index for good. Members carry the names of onnxruntime_c_api.h, where they are documented;
// the number beside each is its index. ort_api_test.cpp holds every slot and type against the real
// header (cmake -DONNXRUNTIME_INCLUDE=DIR).
#pragma once

#include <cstddef>
#include <cstdint>

// Opaque here and there, so the real header may be included beside this one.
struct OrtCustomOpDomain;
struct OrtKernelContext;
struct OrtKernelInfo;
struct OrtMemoryInfo;
struct OrtSessionOptions;
struct OrtShapeInferContext;
struct OrtStatus;  // null: all is well
struct OrtTensorTypeAndShapeInfo;
struct OrtValue;

namespace fade::ort {

// The lowest level that has all we use: ParallelFor came with 17, GetMayInplace with 18. Older
// runtimes refuse.
inline constexpr uint32_t kApiVersion = 18;

enum class ErrorCode : uint32_t { kFail = 1, kInvalidArgument = 2 };
enum class ElementType : uint32_t { kUndefined = 0, kFloat32 = 1, kFloat16 = 10 };
enum class AllocatorType : int32_t { kArena = 1 };
enum class MemoryType : int32_t { kDefault = 0 };
enum class Characteristic : uint32_t { kRequired = 0 };

struct Allocator {  // begins like this; newer versions append
  uint32_t version;
  void* (*Alloc)(Allocator*, size_t bytes);
  void (*Free)(Allocator*, void*);
};

struct CustomOp;

struct Api {
  OrtStatus* (*CreateStatus)(ErrorCode, char const* message);  // 0
  void* skipped1[1];
  char const* (*GetErrorMessage)(OrtStatus const*);  // 2
  void* skipped3[23];
  OrtStatus* (*CreateCustomOpDomain)(char const* domain, OrtCustomOpDomain**);  // 26
  OrtStatus* (*CustomOpDomain_Add)(OrtCustomOpDomain*, CustomOp const*);        // 27
  OrtStatus* (*AddCustomOpDomain)(OrtSessionOptions*, OrtCustomOpDomain*);      // 28
  void* skipped29[22];
  OrtStatus* (*GetTensorMutableData)(OrtValue*, void**);  // 51
  void* skipped52[5];
  OrtStatus* (*CreateTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo**);                // 57
  OrtStatus* (*SetTensorElementType)(OrtTensorTypeAndShapeInfo*, ElementType);            // 58
  OrtStatus* (*SetDimensions)(OrtTensorTypeAndShapeInfo*, int64_t const*, size_t count);  // 59
  OrtStatus* (*GetTensorElementType)(OrtTensorTypeAndShapeInfo const*, ElementType*);     // 60
  OrtStatus* (*GetDimensionsCount)(OrtTensorTypeAndShapeInfo const*, size_t*);            // 61
  OrtStatus* (*GetDimensions)(OrtTensorTypeAndShapeInfo const*, int64_t*, size_t count);  // 62
  OrtStatus* (*GetSymbolicDimensions)(OrtTensorTypeAndShapeInfo const*, char const**,
                                      size_t);  // 63
  void* skipped64[1];
  OrtStatus* (*GetTensorTypeAndShape)(OrtValue const*, OrtTensorTypeAndShapeInfo**);  // 65
  void* skipped66[3];
  OrtStatus* (*CreateCpuMemoryInfo)(AllocatorType, MemoryType, OrtMemoryInfo**);  // 69
  void* skipped70[16];
  OrtStatus* (*KernelInfoGetAttribute_int64)(OrtKernelInfo const*, char const*, int64_t*);  // 86
  OrtStatus* (*KernelInfoGetAttribute_string)(OrtKernelInfo const*, char const*, char*,
                                              size_t* bytes);  // 87
  void* skipped88[2];
  OrtStatus* (*KernelContext_GetInput)(OrtKernelContext const*, size_t, OrtValue const**);  // 90
  OrtStatus* (*KernelContext_GetOutput)(OrtKernelContext*, size_t, int64_t const* dimensions,
                                        size_t count, OrtValue**);  // 91
  void* skipped92[1];
  void (*ReleaseStatus)(OrtStatus*);          // 93
  void (*ReleaseMemoryInfo)(OrtMemoryInfo*);  // 94
  void* skipped95[4];
  void (*ReleaseTensorTypeAndShapeInfo)(OrtTensorTypeAndShapeInfo*);  // 99
  void* skipped100[32];
  void (*ReleaseAllocator)(Allocator*);  // 132
  void* skipped133[60];
  OrtStatus* (*KernelContext_GetGPUComputeStream)(OrtKernelContext const*, void**);  // 193
  void* skipped194[59];
  OrtStatus* (*KernelContext_GetAllocator)(OrtKernelContext const*, OrtMemoryInfo const*,
                                           Allocator**);  // 253
  void* skipped254[14];
  OrtStatus* (*ShapeInferContext_GetInputTypeShape)(OrtShapeInferContext const*, size_t,
                                                    OrtTensorTypeAndShapeInfo**);  // 268
  void* skipped269[1];
  OrtStatus* (*ShapeInferContext_SetOutputTypeShape)(OrtShapeInferContext const*, size_t,
                                                     OrtTensorTypeAndShapeInfo const*);   // 270
  OrtStatus* (*SetSymbolicDimensions)(OrtTensorTypeAndShapeInfo*, char const**, size_t);  // 271
  void* skipped272[2];
  OrtStatus* (*KernelContext_ParallelFor)(OrtKernelContext const*, void (*)(void*, size_t),
                                          size_t total, size_t batches, void* context);  // 274
};

struct ApiBase {
  Api const* (*GetApi)(uint32_t version);  // null: this runtime is older than the version
  char const* (*GetVersionString)();
};

// What a custom operator is to ONNX Runtime; it reads the members up to what `version` had, and
// takes null for none.
struct CustomOp {
  uint32_t version;
  void* (*CreateKernel)(CustomOp const*, Api const*, OrtKernelInfo const*);
  char const* (*GetName)(CustomOp const*);
  char const* (*GetExecutionProviderType)(CustomOp const*);
  ElementType (*GetInputType)(CustomOp const*, size_t);
  size_t (*GetInputTypeCount)(CustomOp const*);
  ElementType (*GetOutputType)(CustomOp const*, size_t);
  size_t (*GetOutputTypeCount)(CustomOp const*);
  void (*KernelCompute)(void* kernel, OrtKernelContext*);
  void (*KernelDestroy)(void* kernel);
  Characteristic (*GetInputCharacteristic)(CustomOp const*, size_t);
  Characteristic (*GetOutputCharacteristic)(CustomOp const*, size_t);
  MemoryType (*GetInputMemoryType)(CustomOp const*, size_t);
  int (*GetVariadicInputMinArity)(CustomOp const*);
  int (*GetVariadicInputHomogeneity)(CustomOp const*);
  int (*GetVariadicOutputMinArity)(CustomOp const*);
  int (*GetVariadicOutputHomogeneity)(CustomOp const*);
  OrtStatus* (*CreateKernelV2)(CustomOp const*, Api const*, OrtKernelInfo const*, void** kernel);
  OrtStatus* (*KernelComputeV2)(void* kernel, OrtKernelContext*);
  OrtStatus* (*InferOutputShapeFn)(CustomOp const*, OrtShapeInferContext*);
  int (*GetStartVersion)(CustomOp const*);
  int (*GetEndVersion)(CustomOp const*);
  size_t (*GetMayInplace)(int** inputs, int** outputs);
  void (*ReleaseMayInplace)(int* inputs, int* outputs);
  size_t (*GetAliasMap)(int** inputs, int** outputs);
  void (*ReleaseAliasMap)(int* inputs, int* outputs);
};

}  // namespace fade::ort
