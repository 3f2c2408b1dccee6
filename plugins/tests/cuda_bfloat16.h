// bfloat16 on the CPU.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>

namespace fade::tests {

inline float floatFromBfloat16(uint16_t bits) {
  uint32_t const wide = uint32_t{bits} << 16;
  float value;
  std::memcpy(&value, &wide, sizeof(value));
  return value;
}

inline uint16_t bfloat16FromFloat(float value) {  // to nearest even
  if (std::isnan(value)) return 0x7fc0;
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

}  // namespace fade::tests
