// Which instruction set runs a call, and what the machine is like.
#include "fade_cpu.h"

#include <atomic>

#include "kernels.h"

#if defined(__unix__)
#include <unistd.h>
#endif

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

int64_t lastLevelCache() noexcept {
#if defined(_SC_LEVEL3_CACHE_SIZE)
  long const bytes = sysconf(_SC_LEVEL3_CACHE_SIZE);
  if (bytes > 0) return bytes;
#endif
  return 32 * 1024 * 1024;  // where nothing tells
}

Machine machine(Parallel const& parallel) noexcept {
  static int64_t const cache = lastLevelCache();
  constexpr int64_t kUnknownThreads = 8;
  int64_t const threads = parallel.threads > 0 ? parallel.threads : kUnknownThreads;
  return {parallel.run == nullptr ? 1 : threads, cache};
}

bool empty(UpsampleArguments const& a) noexcept {
  return a.batch == 0 || a.channels == 0 || a.height == 0 || a.width == 0;
}
bool empty(HeadArguments const& a) noexcept {
  return a.batch == 0 || a.classes == 0 || a.height == 0 || a.width == 0;
}

}  // namespace

size_t scratchBytes(UpsampleArguments const& arguments, Parallel const& parallel) noexcept {
  return empty(arguments) ? 0 : kernelsFor(arguments.width).upsampleScratch(arguments, machine(parallel));
}

size_t scratchBytes(HeadArguments const& arguments, Parallel const& parallel) noexcept {
  return empty(arguments) ? 0 : kernelsFor(kAnyWidth).headScratch(arguments, machine(parallel));
}

void run(UpsampleArguments const& arguments, void* scratch, Parallel const& parallel) noexcept {
  if (empty(arguments)) return;
  kernelsFor(arguments.width).upsample(arguments, scratch, machine(parallel), parallel);
}

void run(HeadArguments const& arguments, void* scratch, Parallel const& parallel) noexcept {
  if (empty(arguments)) return;
  kernelsFor(kAnyWidth).head(arguments, scratch, machine(parallel), parallel);
}

Level level() noexcept { return current().load(std::memory_order_relaxed); }

bool setLevel(Level level) noexcept {
  if (!supported(level)) return false;
  current().store(level, std::memory_order_relaxed);
  return true;
}

}  // namespace fade
