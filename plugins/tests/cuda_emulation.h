// A launch of the CUDA kernels on the CPU, every block and thread of it: their choice, their code, their
// barriers, exchanges, copies and products are those of the GPU; only what cuda::Gpu does is done by hand.
#pragma once

#include <cstdint>

#include "cuda_fibers.h"
#include "fade_cpu.h"

namespace fade::cuda {

struct Emulation {
  Order order = Order::kForward;
  bool copiesLate = true;      // asynchronous copies arrive when they are waited for; else at once
  bool hasMatrixUnits = true;  // for products of float16 and bfloat16
};

// Computes the output; the arguments are valid.
void emulate(UpsampleArguments const& arguments, Emulation const& emulation = {});

}  // namespace fade::cuda
