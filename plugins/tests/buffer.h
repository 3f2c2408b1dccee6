// Memory for a tensor of a test, `shift` bytes from a multiple of 64, fenced on both sides.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include "fade_cpu.h"
#include "reference.h"

namespace fade::tests {

// Under AddressSanitizer the fences are its own (and see reads, too), else bytes that intact() compares.
class Buffer {
 public:
  Buffer() = default;
  Buffer(size_t bytes, size_t shift) : bytes_(bytes), front_(kFence + shift) {
    void* memory = nullptr;
    if (posix_memalign(&memory, 64, front_ + bytes_ + (kAddressSanitizer ? 0 : kFence)) != 0) std::abort();
    memory_ = static_cast<unsigned char*>(memory);
    std::memset(memory_, kFenceByte, front_ + bytes_ + (kAddressSanitizer ? 0 : kFence));
#if defined(__SANITIZE_ADDRESS__)
    ASAN_POISON_MEMORY_REGION(memory_, front_);
#endif
  }
  Buffer(Buffer const&) = delete;
  Buffer& operator=(Buffer const&) = delete;
  Buffer(Buffer&& other) noexcept { *this = static_cast<Buffer&&>(other); }
  Buffer& operator=(Buffer&& other) noexcept {
    std::swap(memory_, other.memory_), std::swap(bytes_, other.bytes_), std::swap(front_, other.front_);
    return *this;
  }
  ~Buffer() {
#if defined(__SANITIZE_ADDRESS__)
    if (memory_ != nullptr) ASAN_UNPOISON_MEMORY_REGION(memory_, front_);
#endif
    std::free(memory_);
  }

  unsigned char* data() const { return memory_ == nullptr ? nullptr : memory_ + front_; }
  size_t bytes() const { return bytes_; }
  void fill(unsigned char byte) { std::memset(data(), byte, bytes_); }

  bool intact() const {
    if (kAddressSanitizer || memory_ == nullptr) return true;
    for (size_t i = 0; i < front_; ++i) {
      if (memory_[i] != kFenceByte) return false;
    }
    for (size_t i = 0; i < kFence; ++i) {
      if (memory_[front_ + bytes_ + i] != kFenceByte) return false;
    }
    return true;
  }

 private:
#if defined(__SANITIZE_ADDRESS__)
  static constexpr bool kAddressSanitizer = true;
#else
  static constexpr bool kAddressSanitizer = false;
#endif
  static constexpr size_t kFence = 128;
  static constexpr unsigned char kFenceByte = 0xa5;
  unsigned char* memory_ = nullptr;
  size_t bytes_ = 0, front_ = 0;
};

inline size_t sizeOf(DataType type) { return type == DataType::kFloat32 ? 4 : 2; }

// Stores `values` as `type` and rounds them to what is stored.
inline Buffer stored(Values& values, DataType type, size_t shift) {
  Buffer buffer(values.size() * sizeOf(type), shift * sizeOf(type));
  for (size_t i = 0; i < values.size(); ++i) {
    float const value = static_cast<float>(values[i]);
    if (type == DataType::kFloat32) {
      std::memcpy(buffer.data() + i * 4, &value, 4);
      values[i] = value;
    } else {
      uint16_t const bits = halfFromFloat(value);
      std::memcpy(buffer.data() + i * 2, &bits, 2);
      values[i] = floatFromHalf(bits);
    }
  }
  return buffer;
}

inline double element(Buffer const& buffer, DataType type, size_t index) {
  if (type == DataType::kFloat32) {
    float value;
    std::memcpy(&value, buffer.data() + index * 4, 4);
    return value;
  }
  uint16_t bits;
  std::memcpy(&bits, buffer.data() + index * 2, 2);
  return floatFromHalf(bits);
}

}  // namespace fade::tests
