// Which instruction set runs a call.
#include "fade_cpu.h"

#include <atomic>
#include <cassert>

#include "kernels.h"

namespace fade {
namespace {

bool supported(Level level) noexcept {
  if (level == Level::kPortable) return true;
#if defined(FADE_X86_LEVELS)
  bool const avx2 =
      __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
  if (level == Level::kAvx2) return avx2;
  if (level == Level::kAvx512) {
    return avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  }
#endif
  return false;
}

Level best() noexcept {
  if (supported(Level::kAvx512)) return Level::kAvx512;
  return supported(Level::kAvx2) ? Level::kAvx2 : Level::kPortable;
}

std::atomic<Level>& current() noexcept {
  static std::atomic<Level> value{best()};
  return value;
}

// The kernels for an image `width` decoder pixels wide: lanes beyond it would be idle.
Kernels const& kernelsFor(int64_t width) noexcept {
  Level const level = current().load(std::memory_order_relaxed);
#if defined(FADE_X86_LEVELS)
  if (level == Level::kAvx512 && width > 8) return avx512::kKernels;
  if (level != Level::kPortable && width > 4) return avx2::kKernels;
#endif
  (void)level, (void)width;
  return portable::kKernels;
}
// The head's lanes are channels, whatever the image.
constexpr int64_t kAnyWidth = INT64_MAX;

int64_t threadsOf(Parallel const& parallel) noexcept {
  constexpr int64_t kUnknown = 8;
  if (parallel.run == nullptr) return 1;
  return parallel.threads > 0 ? parallel.threads : kUnknown;
}

bool empty(UpsampleArguments const& a) noexcept {
  return a.batch == 0 || a.channels == 0 || a.height == 0 || a.width == 0;
}
bool empty(HeadArguments const& a) noexcept {
  return a.batch == 0 || a.classes == 0 || a.height == 0 || a.width == 0;
}

}  // namespace

size_t scratchBytes(UpsampleArguments const& arguments, Parallel const& parallel) noexcept {
  return empty(arguments) ? 0 : kernelsFor(arguments.width).upsampleScratch(arguments, threadsOf(parallel));
}

size_t scratchBytes(HeadArguments const& arguments, Parallel const& parallel) noexcept {
  return empty(arguments) ? 0 : kernelsFor(kAnyWidth).headScratch(arguments, threadsOf(parallel));
}

void run(UpsampleArguments const& arguments, void* scratch, Parallel const& parallel) noexcept {
  assert(arguments.type != DataType::kBfloat16);
  if (empty(arguments)) return;
  kernelsFor(arguments.width).upsample(arguments, scratch, threadsOf(parallel), parallel);
}

void run(HeadArguments const& arguments, void* scratch, Parallel const& parallel) noexcept {
  assert(arguments.type != DataType::kBfloat16);
  if (empty(arguments)) return;
  kernelsFor(kAnyWidth).head(arguments, scratch, threadsOf(parallel), parallel);
}

Level level() noexcept { return current().load(std::memory_order_relaxed); }

bool setLevel(Level level) noexcept {
  if (!supported(level)) return false;
  current().store(level, std::memory_order_relaxed);
  return true;
}

}  // namespace fade
