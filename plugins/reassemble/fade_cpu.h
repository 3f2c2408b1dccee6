// The operators of domain `fade` on the CPU: plain pointers in, dense NCHW, no allocation, no thread of its own.
//
// Storage is float32 or float16, arithmetic float32. Every tensor is dense and needs only the alignment of its
// element. The caller checks the arguments against the contract (fade_deploy/contract.py) beforehand; an output
// never overlaps an input. Works for batch, height, width, channels of 0 (nothing is done).
#pragma once

#include <cstddef>
#include <cstdint>

namespace fade {

enum class DataType : int32_t { kFloat32, kFloat16, kBfloat16 /* CUDA only: fade_cuda.h */ };

// What the reassembly of term t is multiplied by, from `weight`.
enum class DecoderWeight : int32_t { kOne, kGiven, kOneMinusSigmoid };

// R(d, k)[n,c,y,x] = sum_ij d[n, c, y/s + i - K/2, x/s + j - K/2] * k[n, (g*K + i)*K + j, y, x],
// g = c / (C/G), zeros outside the image.
//
// output = sigmoid(weight) * encoder            (where encoder is given: T = 1, kOneMinusSigmoid)
//        + base                                 (where base is given)
//        + sum_t w_t * R(decoder_t, k_t)        k_t = kernels_t, or softmax(kernels_t + nearest(decoderLogits_t))
//
// with weight and decoderLogits repeated s x s. NaN in the logits of a pixel gives NaN in its outputs.
//
//   FadeReassemble  no softmax, kOne
//   FadeUpsample    softmax, kOneMinusSigmoid, encoder
//   FadeUpsampleAdd softmax, kOneMinusSigmoid, encoder, decoderLogits, base = skip
//   FadeAccumulate  softmax, kGiven, base, T terms
struct UpsampleArguments {
  DataType type = DataType::kFloat32;
  int64_t batch = 0, channels = 0;  // C: channels of the output, so of one term
  int64_t height = 0, width = 0;    // of the decoder feature
  int32_t kernelSize = 5;           // K in {1, 3, 5, 7}
  int32_t scale = 2;                // s in {1, 2, 4}
  int32_t groups = 1;               // G, divides C
  int32_t terms = 1;                // T
  void const* decoder = nullptr;    // [N, T*C, H, W]
  void const* kernels = nullptr;    // [N, T*G*K*K, sH, sW]
  void const* decoderLogits = nullptr;  // [N, T*K*K, H, W] or null; only with softmax and G = 1
  bool softmax = false;                 // over the K*K of each term and group
  DecoderWeight weightKind = DecoderWeight::kOne;
  void const* weight = nullptr;   // [N, T, H, W], null with kOne
  void const* encoder = nullptr;  // [N, C, sH, sW] or null
  void const* base = nullptr;     // broadcast to [N, C, sH, sW] by baseStrides, or null
  int64_t baseStrides[4] = {};    // in elements, 0 where broadcast; the last is 0 or 1
  void* output = nullptr;         // [N, C, sH, sW]
};

// The last stage of the fused SegFormer head; x is `encoder`, per pixel of the output:
//
// hidden = relu(encoderBias + encoderWeight @ [g_0 x, g_1 x, g_2 x, x, g_0, g_1, g_2] + sum_t (1 - g_t) R(d_t, k_t))
// output = classWeight @ hidden + classBias
//
// g_t = sigmoid(gateLogits_t), k_t = softmax(encoderLogits_t + nearest(decoderLogits_t)), d_t the first E channels
// of decoder[t]. Computed tile by tile: `hidden` is never in memory as a whole.
struct HeadArguments {
  DataType type = DataType::kFloat32;
  int64_t batch = 0, height = 0, width = 0;  // N; H, W of the decoder features
  int64_t encoderChannels = 0;               // C
  int64_t hiddenChannels = 0;                // E
  int64_t classes = 0;                       // M
  int32_t kernelSize = 5, scale = 2;         // K, s as above
  void const* decoder[3] = {};               // [N, decoderChannels[t], H, W]
  int64_t decoderChannels[3] = {};           // each at least E
  void const* encoderLogits = nullptr;       // [N, 3*K*K, sH, sW]
  void const* decoderLogits = nullptr;       // [N, 3*K*K, H, W]
  void const* gateLogits = nullptr;          // [N, 3, H, W]
  void const* encoder = nullptr;             // [N, C, sH, sW]
  void const* encoderWeight = nullptr;       // [E, 4*C + 3]
  void const* encoderBias = nullptr;         // [E]
  void const* classWeight = nullptr;         // [M, E]
  void const* classBias = nullptr;           // [M]
  void* output = nullptr;                    // [N, M, sH, sW]
};

// How the caller runs independent pieces: calls piece(context, i) once for each i < pieces, in any order, on any
// threads, and returns when all are done. The result doesn't depend on order or threads.
struct Parallel {
  void (*run)(void* pool, void (*piece)(void* context, size_t index), size_t pieces,
              void* context) = nullptr;  // null: in the calling thread
  void* pool = nullptr;
  int32_t threads = 0;  // how many may run at once, a hint; 0: unknown
};

// Bytes of scratch that run() needs for these sizes (pointers other than null are not read) and threads; element
// alignment suffices. Grows with the threads, not with the image: of an upsampler at most about 0.6 MB a thread (K = 5,
// s = 2, one term), of the head its weights in float32 and at most about 1.5 MB a thread
// (K = 5, s = 2, C = 64).
size_t scratchBytes(UpsampleArguments const& arguments, Parallel const& parallel) noexcept;
size_t scratchBytes(HeadArguments const& arguments, Parallel const& parallel) noexcept;

// Computes `output`. `scratch` holds scratchBytes() of the same arguments and the same `parallel.threads`; its
// contents on entry don't matter.
void run(UpsampleArguments const& arguments, void* scratch, Parallel const& parallel) noexcept;
void run(HeadArguments const& arguments, void* scratch, Parallel const& parallel) noexcept;

// Instruction sets the kernels are compiled for; the best one of this processor is used.
enum class Level : int32_t { kPortable, kAvx2, kAvx512 };

// The level in use.
Level level() noexcept;

// For tests and benchmarks: use `level` from now on; false, and nothing changes, where processor or build lack it.
// Not to be called while a run() or between a scratchBytes() and its run().
bool setLevel(Level level) noexcept;

}  // namespace fade
