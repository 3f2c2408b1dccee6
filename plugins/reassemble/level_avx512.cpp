// The kernels for AVX-512 F, BW, DQ and VL.
#define FADE_LEVEL avx512
#include "level.h"

namespace fade {
namespace avx512 {

Kernels const kKernels = {upsampleScratch, upsample, headScratch, head};

}  // namespace avx512
}  // namespace fade
