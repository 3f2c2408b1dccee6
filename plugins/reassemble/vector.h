// One float vector of the widest width that this unit is compiled for, and the few operations the kernels need.
//
// Included by the units that CMake compiles several times with different target flags. Everything lies in a namespace
// named after the level, and nothing of the standard library is instantiated here: an inline function compiled with
// AVX-512 must never be the copy that the linker keeps for the whole program.
#pragma once

#include <cstddef>
#include <cstdint>

#if !defined(FADE_LEVEL)
#error "FADE_LEVEL names the namespace of this instruction set: portable, avx2 or avx512"
#endif
#if defined(__AVX2__)
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

namespace fade {
namespace FADE_LEVEL {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
constexpr int kRegisters = 32;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
constexpr int kRegisters = 16;
#elif defined(__aarch64__)
constexpr int kLanes = 4;
constexpr int kRegisters = 32;
#else
constexpr int kLanes = 4;
constexpr int kRegisters = 16;
#endif

// float16 as stored.
struct Half {
  uint16_t bits;
};

typedef float Vector __attribute__((vector_size(kLanes * 4)));
typedef float LooseVector __attribute__((vector_size(kLanes * 4), aligned(4)));
typedef int32_t IntVector __attribute__((vector_size(kLanes * 4)));
typedef uint32_t UintVector __attribute__((vector_size(kLanes * 4)));
typedef uint16_t HalfVector __attribute__((vector_size(kLanes * 2)));

#define FADE_INLINE static inline __attribute__((always_inline))
// Loops over registers are unrolled completely. Not under a sanitizer, which would check every one of those
// registers as memory: the same loops then compile in a minute and not in ten.
#if defined(__SANITIZE_ADDRESS__)
#define FADE_UNROLL
#else
#define FADE_UNROLL _Pragma("GCC unroll 64")
#endif

template <typename To, typename From>
FADE_INLINE To bitCast(From const& from) {
  static_assert(sizeof(To) == sizeof(From), "same size");
  To to;
  __builtin_memcpy(&to, &from, sizeof(to));
  return to;
}

FADE_INLINE Vector splat(float value) { return value - Vector{}; }
FADE_INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
FADE_INLINE int64_t larger(int64_t a, int64_t b) { return a > b ? a : b; }
FADE_INLINE int64_t roundUp(int64_t value, int64_t multiple) {
  return (value + multiple - 1) / multiple * multiple;
}

// a * b + c, in one rounding where the processor has it.
FADE_INLINE Vector multiplyAdd(Vector a, Vector b, Vector c) {
#if defined(__AVX512F__)
  return _mm512_fmadd_ps(a, b, c);
#elif defined(__AVX2__)
  return _mm256_fmadd_ps(a, b, c);
#elif defined(__aarch64__)
  return vfmaq_f32(c, a, b);
#else
  return a * b + c;
#endif
}

// sum += a * b where sums fill nearly all registers. Left to itself GCC 12 moves and spills them there, which took 1.3
// times as long; this instruction leaves the sum where it is.
FADE_INLINE void accumulate(Vector& sum, Vector a, Vector b) {
#if defined(__AVX2__) && !defined(__AVX512F__)
  __asm__("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
#else
  sum = multiplyAdd(a, b, sum);
#endif
}

// The larger; `b` where either is NaN.
FADE_INLINE Vector maximum(Vector a, Vector b) {
#if defined(__AVX512F__)
  return _mm512_max_ps(a, b);
#elif defined(__AVX2__)
  return _mm256_max_ps(a, b);
#elif defined(__SSE2__)
  return _mm_max_ps(a, b);
#else
  return a > b ? a : b;
#endif
}

// ---- loads and stores; pointers need only the alignment of their element --------------------------------------

FADE_INLINE Vector load(float const* from) { return *reinterpret_cast<LooseVector const*>(from); }
FADE_INLINE void store(float* to, Vector value) { *reinterpret_cast<LooseVector*>(to) = value; }
FADE_INLINE Vector loadAligned(float const* from) { return *reinterpret_cast<Vector const*>(from); }
FADE_INLINE void storeAligned(float* to, Vector value) { *reinterpret_cast<Vector*>(to) = value; }

FADE_INLINE Vector widen(HalfVector bits) {
#if defined(__AVX512F__)
  return _mm512_cvtph_ps(bitCast<__m256i>(bits));
#elif defined(__AVX2__)
  return _mm256_cvtph_ps(bitCast<__m128i>(bits));
#elif defined(__aarch64__)
  return vcvt_f32_f16(bitCast<float16x4_t>(bits));
#else
  UintVector const wide = __builtin_convertvector(bits, UintVector);
  UintVector const sign = (wide & 0x8000u) << 16, exponent = wide & 0x7c00u;
  UintVector const magnitude = (wide & 0x7fffu) << 13;
  UintVector const normal = magnitude + (112u << 23);
  // A subnormal half is a multiple of 2^-24: put it behind an implicit one and subtract that.
  UintVector const hidden = UintVector{} + (113u << 23);
  UintVector const subnormal =
      bitCast<UintVector>(bitCast<Vector>(magnitude + hidden) - bitCast<Vector>(hidden));
  UintVector const special = magnitude | 0x7f800000u;
  UintVector const isSubnormal = bitCast<UintVector>(exponent == 0u);
  UintVector const isSpecial = bitCast<UintVector>(exponent == 0x7c00u);
  UintVector const finite = (isSubnormal & subnormal) | (~isSubnormal & normal);
  return bitCast<Vector>(sign | (isSpecial & special) | (~isSpecial & finite));
#endif
}

// Rounds to nearest even.
FADE_INLINE HalfVector narrow(Vector value) {
#if defined(__AVX512F__)
  return bitCast<HalfVector>(_mm512_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(__AVX2__)
  return bitCast<HalfVector>(_mm256_cvtps_ph(value, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(__aarch64__)
  return bitCast<HalfVector>(vcvt_f16_f32(value));
#else
  UintVector const bits = bitCast<UintVector>(value);
  UintVector const sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
  UintVector const normal = (magnitude - (112u << 23) + 0xfffu + ((magnitude >> 13) & 1u)) >> 13;
  // Below 2^-14: adding 0.5 leaves the multiple of 2^-24 in the last bits, rounded.
  UintVector const half = UintVector{} + (126u << 23);
  UintVector const subnormal =
      bitCast<UintVector>(bitCast<Vector>(magnitude) + bitCast<Vector>(half)) - half;
  UintVector const isNan = bitCast<UintVector>(magnitude > 0x7f800000u);
  UintVector const special = (UintVector{} + 0x7c00u) | (isNan & 0x200u);
  UintVector const isSubnormal = bitCast<UintVector>(magnitude < (113u << 23));
  UintVector const isSpecial = bitCast<UintVector>(magnitude >= (143u << 23));
  UintVector const finite = (isSubnormal & subnormal) | (~isSubnormal & normal);
  return __builtin_convertvector(sign | (isSpecial & special) | (~isSpecial & finite), HalfVector);
#endif
}

FADE_INLINE Vector load(Half const* from) {
  HalfVector bits;
  __builtin_memcpy(&bits, from, sizeof(bits));
  return widen(bits);
}
FADE_INLINE void store(Half* to, Vector value) {
  HalfVector const bits = narrow(value);
  __builtin_memcpy(to, &bits, sizeof(bits));
}

FADE_INLINE float loadOne(float const* from) { return *from; }
FADE_INLINE float loadOne(Half const* from) {
  HalfVector bits = {};
  bits[0] = from->bits;
  return widen(bits)[0];
}

// The first `count` lanes, zeros in the others; nothing behind them is read. count may be 0 or less, or beyond kLanes.
FADE_INLINE Vector loadFirst(float const* from, int64_t count) {
  if (count >= kLanes) return load(from);
  if (count <= 0) return Vector{};
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps(static_cast<__mmask16>((1u << count) - 1u), from);
#elif defined(__AVX2__)
  alignas(64) static constexpr int32_t kMask[2 * kLanes] = {-1, -1, -1, -1, -1, -1, -1, -1};
  return _mm256_maskload_ps(from, _mm256_loadu_si256(reinterpret_cast<__m256i const*>(kMask + kLanes - count)));
#else
  Vector value = {};
  __builtin_memcpy(&value, from, static_cast<size_t>(count) * sizeof(float));
  return value;
#endif
}
FADE_INLINE Vector loadFirst(Half const* from, int64_t count) {
  if (count >= kLanes) return load(from);
  if (count <= 0) return Vector{};
  HalfVector bits = {};
  __builtin_memcpy(&bits, from, static_cast<size_t>(count) * sizeof(Half));
  return widen(bits);
}

// ---- lanes ------------------------------------------------------------------------------------------------------

#if defined(__AVX512F__)
#define FADE_LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define FADE_HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define FADE_EVEN 0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30
#define FADE_ODD 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31
#elif defined(__AVX2__)
#define FADE_LOW 0, 8, 1, 9, 2, 10, 3, 11
#define FADE_HIGH 4, 12, 5, 13, 6, 14, 7, 15
#define FADE_EVEN 0, 2, 4, 6, 8, 10, 12, 14
#define FADE_ODD 1, 3, 5, 7, 9, 11, 13, 15
#else
#define FADE_LOW 0, 4, 1, 5
#define FADE_HIGH 2, 6, 3, 7
#define FADE_EVEN 0, 2, 4, 6
#define FADE_ODD 1, 3, 5, 7
#endif
#if defined(__clang__) || __GNUC__ >= 12
#define FADE_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define FADE_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, IntVector{__VA_ARGS__})
#endif
// a0 b0 a1 b1 ...: the first and the second half of it; and back.
FADE_INLINE Vector interleaveLow(Vector a, Vector b) { return FADE_SHUFFLE(a, b, FADE_LOW); }
FADE_INLINE Vector interleaveHigh(Vector a, Vector b) { return FADE_SHUFFLE(a, b, FADE_HIGH); }
FADE_INLINE Vector evenLanes(Vector a, Vector b) { return FADE_SHUFFLE(a, b, FADE_EVEN); }
FADE_INLINE Vector oddLanes(Vector a, Vector b) { return FADE_SHUFFLE(a, b, FADE_ODD); }
#undef FADE_SHUFFLE
#undef FADE_LOW
#undef FADE_HIGH
#undef FADE_EVEN
#undef FADE_ODD

// S vectors, vector j of which holds the values at S*lane + j, to S vectors of consecutive values; and back.
template <int S>
FADE_INLINE void interleave(Vector (&v)[S]) {
  if constexpr (S == 2) {
    Vector const low = interleaveLow(v[0], v[1]), high = interleaveHigh(v[0], v[1]);
    v[0] = low, v[1] = high;
  } else if constexpr (S == 4) {
    Vector even[2] = {v[0], v[2]}, odd[2] = {v[1], v[3]};
    interleave<2>(even);
    interleave<2>(odd);
    for (int h = 0; h < 2; ++h) {
      v[2 * h] = interleaveLow(even[h], odd[h]);
      v[2 * h + 1] = interleaveHigh(even[h], odd[h]);
    }
  }
}
template <int S>
FADE_INLINE void deinterleave(Vector (&v)[S]) {
  if constexpr (S == 2) {
    Vector const even = evenLanes(v[0], v[1]), odd = oddLanes(v[0], v[1]);
    v[0] = even, v[1] = odd;
  } else if constexpr (S == 4) {
    Vector even[2], odd[2];
    for (int h = 0; h < 2; ++h) {
      even[h] = evenLanes(v[2 * h], v[2 * h + 1]);
      odd[h] = oddLanes(v[2 * h], v[2 * h + 1]);
    }
    v[0] = evenLanes(even[0], even[1]), v[2] = oddLanes(even[0], even[1]);
    v[1] = evenLanes(odd[0], odd[1]), v[3] = oddLanes(odd[0], odd[1]);
  }
}

// v[0] with every lane S times, over S vectors.
template <int S>
FADE_INLINE void repeatLanes(Vector (&v)[S]) {
  FADE_UNROLL for (int j = 1; j < S; ++j) v[j] = v[0];
  interleave<S>(v);
}

// rows[r][lane] -> rows[lane][r], in log2(kLanes) rounds of perfect shuffles.
FADE_INLINE void transpose(Vector (&rows)[kLanes]) {
  FADE_UNROLL for (int round = 1; round < kLanes; round *= 2) {
    Vector next[kLanes];
    FADE_UNROLL for (int r = 0; r < kLanes / 2; ++r) {
      next[2 * r] = interleaveLow(rows[r], rows[r + kLanes / 2]);
      next[2 * r + 1] = interleaveHigh(rows[r], rows[r + kLanes / 2]);
    }
    FADE_UNROLL for (int r = 0; r < kLanes; ++r) rows[r] = next[r];
  }
}

// ---- functions --------------------------------------------------------------------------------------------------

constexpr float kLog2E = 1.44269504088896341f;

// 2^t for t <= about 127, at most 1e-7 off relatively; 0 far below; NaN for NaN.
FADE_INLINE Vector exp2(Vector t) {
  t = maximum(splat(-126.f), t);  // -inf would give inf - inf
#if defined(__AVX512F__)
  Vector const n = _mm512_roundscale_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#elif defined(__AVX2__)
  Vector const n = _mm256_round_ps(t, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
#else
  Vector const shift = splat(12582912.f);  // 1.5 * 2^23: the sum has no fraction bits left
  Vector const n = (t + shift) - shift;
#endif
  Vector const f = t - n;  // in [-1/2, 1/2]
  // Minimax polynomial of 2^f there with constant term 1, found by iteratively reweighted least squares: 9.2e-8 off.
  Vector p = splat(1.326472672e-3f);
  p = multiplyAdd(p, f, splat(9.671512724e-3f));
  p = multiplyAdd(p, f, splat(5.550733745e-2f));
  p = multiplyAdd(p, f, splat(2.402224208e-1f));
  p = multiplyAdd(p, f, splat(6.931469776e-1f));
  p = multiplyAdd(p, f, splat(1.f));
#if defined(__AVX512F__)
  return _mm512_scalef_ps(p, n);
#else
  // The integer of NaN is anything; p is NaN then, and stays so.
  UintVector const power = (bitCast<UintVector>(__builtin_convertvector(n, IntVector)) + 127u) << 23;
  return p * bitCast<Vector>(power);
#endif
}

FADE_INLINE Vector sigmoid(Vector x) {
  Vector const t = maximum(splat(-126.f), x * splat(-kLog2E));
  return splat(1.f) / (splat(1.f) + exp2(t > 126.f ? splat(126.f) : t));
}

}  // namespace FADE_LEVEL
}  // namespace fade
