// The operators of domain `fade` on an NVIDIA GPU: device pointers in, the caller's stream, a
// status out.
//
// One launch computes what fade::run(UpsampleArguments) does on the CPU (fade_cpu.h tells which
// operator is which arguments), in one pass. Storage is float32, float16 or bfloat16, arithmetic
// float32. Nothing is allocated and nothing waits, so a launch may be captured in a CUDA graph.
#pragma once

#include <cuda_runtime_api.h>

#include "fade_cpu.h"

namespace fade {

// Enqueues the computation of `output` on `stream`. Pointers need the alignment of their element;
// `output` may be the same memory as `encoder`, and overlaps no other input. Nothing is done for an
// empty output.
//
// cudaErrorInvalidValue where the contract is broken: K or s outside its sets, groups that don't
// divide the channels, a negative size, a tensor missing that the arguments ask for; and where C, H
// or W exceeds 2^29 - 65 (their products may be of any size). Else what the launch returns.
cudaError_t launch(UpsampleArguments const& arguments, cudaStream_t stream) noexcept;

}  // namespace fade
