// What one instruction set offers; the units level_*.cpp define one table each, fade_cpu.cpp chooses.
#pragma once

#include "fade_cpu.h"

namespace fade {

// What the kernels need to know of the machine and the pool.
struct Machine {
  int64_t threads;         // pieces that may run at once, at least 1
  int64_t lastLevelCache;  // bytes
};

struct Kernels {
  size_t (*upsampleScratch)(UpsampleArguments const&, Machine const&);
  void (*upsample)(UpsampleArguments const&, void* scratch, Machine const&, Parallel const&);
  size_t (*headScratch)(HeadArguments const&, Machine const&);
  void (*head)(HeadArguments const&, void* scratch, Machine const&, Parallel const&);
};

namespace portable {
extern Kernels const kKernels;
}
#if defined(FADE_X86_LEVELS)
namespace avx2 {
extern Kernels const kKernels;
}
namespace avx512 {
extern Kernels const kKernels;
}
#endif

}  // namespace fade
