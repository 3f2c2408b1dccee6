// The kernels for whatever the compiler targets by default (SSE2, NEON).
#define FADE_LEVEL portable
#include "level.h"

namespace fade {
namespace portable {

Kernels const kKernels = {upsampleScratch, upsample, headScratch, head};

}  // namespace portable
}  // namespace fade
