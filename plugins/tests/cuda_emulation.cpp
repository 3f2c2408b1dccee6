#include "cuda_emulation.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "cuda_bfloat16.h"
#include "fade_cuda_choice.h"
#include "fade_cuda_general.h"
#include "fade_cuda_matrix.h"
#include "reference.h"

namespace fade::cuda {
namespace {

struct Half {
  uint16_t bits;
};
struct Bfloat16 {
  uint16_t bits;
};

// What exchanges and products of a warp pass between its threads.
struct Slot {
  uint32_t words[15];
};

// A block: its threads, and what they share.
struct EmulatedBlock {
  Fibers& fibers;
  bool copiesLate;
  std::vector<Slot> slots[2];  // in turn, so that one barrier is enough

  EmulatedBlock(Fibers& threads, int32_t count, bool late) : fibers(threads), copiesLate(late) {
    for (auto& each : slots) each.resize(static_cast<size_t>(count));
  }
};

// cuda::Gpu for the CPU.
class Machine {
 public:
  Machine(EmulatedBlock& block, int32_t thread) : block_(block), thread_(thread) {}

  static float toFloat(float value) { return value; }
  static float toFloat(Half value) {
    static std::vector<float> const table = [] {
      std::vector<float> values(1 << 16);
      for (size_t i = 0; i < values.size(); ++i) values[i] = tests::floatFromHalf(static_cast<uint16_t>(i));
      return values;
    }();
    return table[value.bits];
  }
  static float toFloat(Bfloat16 value) { return tests::floatFromBfloat16(value.bits); }
  static void store(float* to, float value) { *to = value; }
  static void store(Half* to, float value) { to->bits = tests::halfFromFloat(value); }
  static void store(Bfloat16* to, float value) { to->bits = tests::bfloat16FromFloat(value); }

  template <typename T>
  static uint32_t pack(float first, float second) {
    T both[2];
    store(&both[0], first), store(&both[1], second);
    return join<T>(both[0], both[1]);
  }
  template <typename T>
  static void unpack(uint32_t word, float (&to)[2]) {
    to[0] = toFloat(T{static_cast<uint16_t>(word)}), to[1] = toFloat(T{static_cast<uint16_t>(word >> 16)});
  }
  template <typename T>
  static uint32_t join(T first, T second) {
    return first.bits | uint32_t{second.bits} << 16;
  }
  static float exp2(float x) { return std::exp2(x); }

  int32_t thread() const { return thread_; }
  void sync() const { block_.fibers.waitForBlock(); }
  uint32_t exchange(uint32_t value, int32_t mask) {
    Slot* const slots = nextSlots();
    slots[thread_].words[0] = value;
    block_.fibers.waitForWarp();
    return slots[thread_ ^ mask].words[0];
  }

  void copyPixels(void* to, void const* from, bool isThere) {
    Copy const copy = {to, isThere ? from : nullptr};
    if (!block_.copiesLate) return finish(copy);
    std::memset(to, 0xff, kCopyBytes);  // NaN until it is waited for
    copies_.push_back(copy);
  }
  void commit() { groups_.push_back(std::move(copies_)), copies_.clear(); }
  template <int32_t kLeft>
  void wait() {
    for (; groups_.size() > kLeft; groups_.erase(groups_.begin())) {
      for (Copy const& copy : groups_.front()) finish(copy);
    }
  }

  template <typename T>
  void multiply(float (&sums)[4], uint32_t const (&pixels)[5][2], uint32_t const (&weights)[5]) {
    Slot* const slots = nextSlots();
    for (int32_t i = 0; i < 5; ++i) {
      uint32_t const words[3] = {pixels[i][0], pixels[i][1], weights[i]};
      std::copy(words, words + 3, slots[thread_].words + 3 * i);
    }
    block_.fibers.waitForWarp();
    int32_t const warp = thread_ / 32 * 32, lane = thread_ % 32;
    for (int32_t sum = 0; sum < 4; ++sum) {
      int32_t const row = lane / 4, half = sum / 2, column = lane % 4 * 2 + sum % 2;
      for (int32_t i = 0; i < 5; ++i) {
        for (int32_t k = 0; k < 4; ++k) {  // pairs of pixels
          float pixel[2], weight[2];
          unpack<T>(slots[warp + row * 4 + k].words[3 * i + half], pixel);
          unpack<T>(slots[warp + column * 4 + k].words[3 * i + 2], weight);
          sums[sum] += pixel[0] * weight[0];
          sums[sum] += pixel[1] * weight[1];
        }
      }
    }
  }

 private:
  struct Copy {
    void* to;
    void const* from;  // null: zeros
  };
  static constexpr size_t kCopyBytes = 8;

  static void finish(Copy const& copy) {
    if (copy.from == nullptr) {
      std::memset(copy.to, 0, kCopyBytes);
    } else {
      std::memcpy(copy.to, copy.from, kCopyBytes);
    }
  }
  Slot* nextSlots() { return block_.slots[turn_ ^= 1].data(); }

  EmulatedBlock& block_;
  int32_t thread_;
  size_t turn_ = 0;
  std::vector<Copy> copies_;
  std::vector<std::vector<Copy>> groups_;
};

// The launcher that choose() wants.
template <typename T>
struct EmulatedLauncher {
  static constexpr bool kHasMatrix = sizeof(T) == 2;

  Work const& work;
  Emulation const& emulation;

  bool hasMatrixUnits() const { return emulation.hasMatrixUnits; }

  template <int32_t K, int32_t S, int32_t kHeld>
  void general() const {
    using Kernel = General<Machine, T, K, S, kHeld>;
    bool const isAligned = Kernel::isAligned(work);
    launch<Kernel>(gridFor(work.arguments, Kernel::division()), [&](Machine& machine, Block const& block, void* shared) {
      Kernel(machine, work, block, isAligned, shared).run();
    });
  }

  template <int32_t kMostTerms, int32_t kAddends>
  void matrix() const {
    using Kernel = Matrix<Machine, T, kMostTerms, kAddends>;
    Grid const grid = gridFor(work.arguments, Kernel::division(work.arguments));
    launch<Kernel>(grid, [&](Machine& machine, Block const& block, void* shared) {
      Kernel(machine, work, grid, block, shared).run();
    });
  }

 private:
  template <typename Kernel, typename Body>
  void launch(Grid const& grid, Body const& body) const {
    static Fibers fibers(512);
    for (int64_t index = 0; index < grid.blocks; ++index) {
      // As many bytes as a block has, by AddressSanitizer's watch, and NaN in every type.
      std::vector<FourFloats> shared((Kernel::kSharedBytes + 15) / 16);
      std::memset(shared.data(), 0xff, shared.size() * 16);
      EmulatedBlock emulated(fibers, Kernel::kThreads, emulation.copiesLate);
      Block const block = blockAt(work.arguments, grid, index);
      fibers.run(Kernel::kThreads, emulation.order, [&](int32_t thread) {
        Machine machine(emulated, thread);
        body(machine, block, shared.data());
      });
    }
  }
};

}  // namespace

void emulate(UpsampleArguments const& arguments, Emulation const& emulation) {
  Work const work = workOf(arguments);
  if (arguments.type == DataType::kFloat32) return choose(work, EmulatedLauncher<float>{work, emulation});
  if (arguments.type == DataType::kFloat16) return choose(work, EmulatedLauncher<Half>{work, emulation});
  return choose(work, EmulatedLauncher<Bfloat16>{work, emulation});
}

}  // namespace fade::cuda
