// The threads of a CUDA block on one thread of this machine: each runs until it waits for others.
#pragma once

#include <ucontext.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <vector>

namespace fade::cuda {

// In which order threads run between barriers. A barrier that is missing shows in one of them.
enum class Order { kForward, kBackward, kRandom };

class Fibers {
 public:
  explicit Fibers(int32_t most);
  ~Fibers();
  Fibers(Fibers const&) = delete;
  Fibers& operator=(Fibers const&) = delete;

  // Calls body(thread) for each thread below `count`, a multiple of 32. Aborts where threads wait for one
  // that has ended or waits elsewhere.
  void run(int32_t count, Order order, std::function<void(int32_t)> body);

  // From within body: until all threads, or all 32 of the warp, wait here.
  void waitForBlock();
  void waitForWarp();

 private:
  static constexpr size_t kStackBytes = size_t{1} << 18;
  enum class State { kReady, kWaiting, kEnded };
  struct Barrier {
    int32_t first, count, arrived;
  };
  struct Fiber {
    ucontext_t context;
    State state;
    void* fakeStack;  // of AddressSanitizer
  };

  static void enter();
  void wait(Barrier& barrier);
  void resume(int32_t thread);
  void leave(bool isLast);

  std::unique_ptr<unsigned char[]> stacks_;
  std::vector<Fiber> fibers_;
  std::vector<Barrier> barriers_;  // of the block, then of each warp
  std::function<void(int32_t)> body_;
  std::mt19937 random_{1};
  ucontext_t scheduler_;
  int32_t current_ = 0;
  void const* mainStack_ = nullptr;  // for AddressSanitizer
  size_t mainStackBytes_ = 0;
};

}  // namespace fade::cuda
