// What the kernels ask of a GPU; the emulation has the same for the CPU.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp16.h>

#include <cstdint>
#include <type_traits>

namespace fade::cuda {

struct Gpu {
  // --- numbers

  static __device__ __forceinline__ float toFloat(float value) { return value; }
  static __device__ __forceinline__ float toFloat(__half value) { return __half2float(value); }
  static __device__ __forceinline__ float toFloat(__nv_bfloat16 value) {
    return __bfloat162float(value);
  }
  static __device__ __forceinline__ void store(float* to, float value) { *to = value; }
  static __device__ __forceinline__ void store(__half* to, float value) {
    *to = __float2half_rn(value);
  }
  static __device__ __forceinline__ void store(__nv_bfloat16* to, float value) {
    *to = __float2bfloat16_rn(value);
  }

  // Two numbers in a word, the first in its low half: from floats, to floats, as they are.
  template <typename T>
  static __device__ __forceinline__ uint32_t pack(float first, float second) {
    if constexpr (std::is_same_v<T, __half>) {
      return bitsOf(__floats2half2_rn(first, second));
    } else {
      return bitsOf(__floats2bfloat162_rn(first, second));
    }
  }
  template <typename T>
  static __device__ __forceinline__ void unpack(uint32_t word, float (&to)[2]) {
    if constexpr (std::is_same_v<T, __half>) {
      float2 const both = __half22float2(*reinterpret_cast<__half2 const*>(&word));
      to[0] = both.x, to[1] = both.y;
    } else {
      to[0] = __uint_as_float(word << 16), to[1] = __uint_as_float(word & 0xffff0000u);
    }
  }
  template <typename T>
  static __device__ __forceinline__ uint32_t join(T first, T second) {
    return uint32_t{*reinterpret_cast<uint16_t const*>(&first)} |
           uint32_t{*reinterpret_cast<uint16_t const*>(&second)} << 16;
  }
  // 2^x; relative error about 2^-22, 0 below the smallest normal number.
  static __device__ __forceinline__ float exp2(float x) {
    float result;
    asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(result) : "f"(x));
    return result;
  }

  // --- threads

  __device__ __forceinline__ int32_t thread() const { return static_cast<int32_t>(threadIdx.x); }
  __device__ __forceinline__ void sync() const { __syncthreads(); }
  // `value` of the thread of the warp whose number differs in `mask`.
  __device__ __forceinline__ uint32_t exchange(uint32_t value, int32_t mask) const {
    return __shfl_xor_sync(0xffffffffu, value, mask);
  }

  // --- copies to shared memory, at once before compute capability 8.0

  // Four pixels of 16 bits; zeros where not `isThere`, `from` is not read then.
  __device__ __forceinline__ void copyPixels(void* to, void const* from, bool isThere) const {
#if __CUDA_ARCH__ >= 800
    auto const address = static_cast<uint32_t>(__cvta_generic_to_shared(to));
    asm volatile("cp.async.ca.shared.global [%0], [%1], 8, %2;" ::"r"(address), "l"(from),
                 "r"(isThere ? 8 : 0)
                 : "memory");
#else
    *static_cast<uint2*>(to) = isThere ? *static_cast<uint2 const*>(from) : uint2{};
#endif
  }
  // Ends a group of copies.
  __device__ __forceinline__ void commit() const {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.commit_group;" ::: "memory");
#endif
  }
  // Until all groups of this thread but the last kLeft are there.
  template <int32_t kLeft>
  __device__ __forceinline__ void wait() const {
#if __CUDA_ARCH__ >= 800
    asm volatile("cp.async.wait_group %0;" ::"n"(kLeft) : "memory");
#endif
  }

  // --- products, by a warp: sums[16][8] += pixels[16][40] * weights[40][8], as fragments

  // Thread i of 32 has rows i/4 and i/4 + 8, columns 2*(i%4) and the next, of sums; of each 8
  // columns of pixels the same rows and columns; of each 8 rows of weights column i/4, rows 2*(i%4)
  // and the next. bfloat16 needs compute capability 8.0.
  template <typename T>
  __device__ __forceinline__ void multiply(float (&sums)[4], uint32_t const (&pixels)[5][2],
                                           uint32_t const (&weights)[5]) const {
#if __CUDA_ARCH__ >= 800
    multiply16<T>(sums, pixels[0], pixels[1], weights[0], weights[1]);
    multiply16<T>(sums, pixels[2], pixels[3], weights[2], weights[3]);
    multiply8<T>(sums, pixels[4], weights[4]);
#else
    FADE_UNROLL
    for (int32_t i = 0; i < 5; ++i) multiply8<T>(sums, pixels[i], weights[i]);
#endif
  }

 private:
  template <typename Pair>
  static __device__ __forceinline__ uint32_t bitsOf(Pair pair) {
    return *reinterpret_cast<uint32_t const*>(&pair);
  }

  template <typename T>
  static __device__ __forceinline__ void multiply16(float (&c)[4], uint32_t const (&a)[2],
                                                    uint32_t const (&b)[2], uint32_t first,
                                                    uint32_t second) {
    if constexpr (std::is_same_v<T, __half>) {
      asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, "
          "{%8, %9}, {%0, %1, %2, %3};"
          : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
          : "r"(a[0]), "r"(a[1]), "r"(b[0]), "r"(b[1]), "r"(first), "r"(second));
    } else {
      asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, "
          "{%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
          : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
          : "r"(a[0]), "r"(a[1]), "r"(b[0]), "r"(b[1]), "r"(first), "r"(second));
    }
  }

  template <typename T>
  static __device__ __forceinline__ void multiply8(float (&c)[4], uint32_t const (&a)[2],
                                                   uint32_t b) {
    if constexpr (std::is_same_v<T, __half>) {
      asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
          "{%0, %1, %2, %3};"
          : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
          : "r"(a[0]), "r"(a[1]), "r"(b));
    } else {
#if __CUDA_ARCH__ >= 800
      asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5}, {%6}, "
          "{%0, %1, %2, %3};"
          : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
          : "r"(a[0]), "r"(a[1]), "r"(b));
#else
      __trap();  // the host never launches this (fade_cuda_launch.h)
#endif
    }
  }
};

}  // namespace fade::cuda
