// The kernels for AVX2, FMA and F16C.
#define FADE_LEVEL avx2
#include "level.h"

namespace fade {
namespace avx2 {

Kernels const kKernels = {upsampleScratch, upsample, headScratch, head};

}  // namespace avx2
}  // namespace fade
