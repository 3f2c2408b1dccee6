#include "cuda_fibers.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <numeric>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif

namespace fade::cuda {
namespace {

Fibers* running = nullptr;  // a new fiber's only way to its arguments

}  // namespace

Fibers::Fibers(int32_t most)
    : stacks_(new unsigned char[static_cast<size_t>(most) * kStackBytes]),
      fibers_(static_cast<size_t>(most)) {}

Fibers::~Fibers() {
#if defined(__SANITIZE_ADDRESS__)
  ASAN_UNPOISON_MEMORY_REGION(stacks_.get(), fibers_.size() * kStackBytes);
#endif
}

void Fibers::run(int32_t count, Order order, std::function<void(int32_t)> body) {
  body_ = std::move(body);
  barriers_ = {{0, count, 0}};
  for (int32_t first = 0; first < count; first += 32) barriers_.push_back({first, 32, 0});
  running = this;
#if defined(__SANITIZE_ADDRESS__)
  // An ended fiber leaves the marks of its first frame.
  ASAN_UNPOISON_MEMORY_REGION(stacks_.get(), static_cast<size_t>(count) * kStackBytes);
#endif
  for (int32_t thread = 0; thread < count; ++thread) {
    Fiber& fiber = fibers_[static_cast<size_t>(thread)];
    fiber.state = State::kReady;
    fiber.fakeStack = nullptr;
    getcontext(&fiber.context);
    fiber.context.uc_stack.ss_sp = stacks_.get() + static_cast<size_t>(thread) * kStackBytes;
    fiber.context.uc_stack.ss_size = kStackBytes;
    fiber.context.uc_link = nullptr;
    makecontext(&fiber.context, &Fibers::enter, 0);
  }
  std::vector<int32_t> turns(static_cast<size_t>(count));
  std::iota(turns.begin(), turns.end(), 0);
  if (order == Order::kBackward) std::reverse(turns.begin(), turns.end());
  for (int32_t ended = 0; ended < count;) {
    if (order == Order::kRandom) std::shuffle(turns.begin(), turns.end(), random_);
    bool hasRun = false;
    for (int32_t const thread : turns) {
      Fiber& fiber = fibers_[static_cast<size_t>(thread)];
      if (fiber.state != State::kReady) continue;
      hasRun = true;
      resume(thread);
      if (fiber.state == State::kEnded) ++ended;
    }
    if (!hasRun) {
      std::fprintf(stderr, "threads of an emulated block wait for each other at different places\n");
      std::abort();
    }
  }
}

void Fibers::resume(int32_t thread) {
  current_ = thread;
  Fiber& fiber = fibers_[static_cast<size_t>(thread)];
#if defined(__SANITIZE_ADDRESS__)
  void* fakeStack = nullptr;
  __sanitizer_start_switch_fiber(&fakeStack, fiber.context.uc_stack.ss_sp, kStackBytes);
  swapcontext(&scheduler_, &fiber.context);
  __sanitizer_finish_switch_fiber(fakeStack, nullptr, nullptr);
#else
  swapcontext(&scheduler_, &fiber.context);
#endif
}

void Fibers::enter() {
  Fibers& fibers = *running;
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(nullptr, &fibers.mainStack_, &fibers.mainStackBytes_);
#endif
  fibers.body_(fibers.current_);
  fibers.fibers_[static_cast<size_t>(fibers.current_)].state = State::kEnded;
  fibers.leave(/* isLast = */ true);
}

// Back to run(), which may resume this fiber later.
void Fibers::leave(bool isLast) {
  Fiber& fiber = fibers_[static_cast<size_t>(current_)];
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(isLast ? nullptr : &fiber.fakeStack, mainStack_, mainStackBytes_);
  swapcontext(&fiber.context, &scheduler_);
  __sanitizer_finish_switch_fiber(fiber.fakeStack, &mainStack_, &mainStackBytes_);
#else
  static_cast<void>(isLast);
  swapcontext(&fiber.context, &scheduler_);
#endif
}

void Fibers::wait(Barrier& barrier) {
  if (++barrier.arrived < barrier.count) {
    fibers_[static_cast<size_t>(current_)].state = State::kWaiting;
    leave(/* isLast = */ false);
    return;
  }
  barrier.arrived = 0;
  for (int32_t thread = barrier.first; thread < barrier.first + barrier.count; ++thread) {
    fibers_[static_cast<size_t>(thread)].state = State::kReady;
  }
}

void Fibers::waitForBlock() { wait(barriers_[0]); }
void Fibers::waitForWarp() { wait(barriers_[static_cast<size_t>(1 + current_ / 32)]); }

}  // namespace fade::cuda
