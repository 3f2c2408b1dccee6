// The operators as loops in double, one output at a time: the oracle of the kernels' tests.
#pragma once

#include <vector>

#include "fade_cpu.h"

namespace fade::tests {

using Values = std::vector<double>;

// A tensor of a call: its values as the kernel reads them (rounded to the storage type), or empty for a null pointer.
struct UpsampleValues {
  Values decoder, kernels, decoderLogits, weight, encoder, base;
};
struct HeadValues {
  Values decoder[3];
  Values encoderLogits, decoderLogits, gateLogits, encoder, encoderWeight, encoderBias, classWeight, classBias;
};

// What the operator should give, and for each output the sum of the magnitudes of its terms: what rounding scales with.
struct Expected {
  Values value, magnitude;
};

Expected expected(UpsampleArguments const& arguments, UpsampleValues const& values);
Expected expected(HeadArguments const& arguments, HeadValues const& values);

float floatFromHalf(uint16_t bits);
uint16_t halfFromFloat(float value);  // to nearest even

}  // namespace fade::tests
