// What one instruction set offers; the units level_*.cpp define one table each, fade_cpu.cpp chooses.
#pragma once

#include "fade_cpu.h"

namespace fade {

// threads: pieces that may run at once, at least 1.
struct Kernels {
  size_t (*upsampleScratch)(UpsampleArguments const&, int64_t threads);
  void (*upsample)(UpsampleArguments const&, void* scratch, int64_t threads, Parallel const&);
  size_t (*headScratch)(HeadArguments const&, int64_t threads);
  void (*head)(HeadArguments const&, void* scratch, int64_t threads, Parallel const&);
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
