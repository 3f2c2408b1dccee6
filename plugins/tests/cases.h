// Shapes and attributes that the kernels are tested with: a table, and any number of made ones.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "fade_cpu.h"

namespace fade::tests {

enum class Base { kNone, kDense, kScalar, kChannel, kRow };

struct UpsampleCase {
  int64_t batch, channels, height, width;
  int32_t kernelSize, scale, groups, terms;
  bool softmax, decoderLogits, encoder;
  DecoderWeight weight;
  Base base;
};
struct HeadCase {
  int64_t batch, height, width, encoderChannels, hiddenChannels, classes, spareChannels;
  int32_t kernelSize, scale;
};

std::vector<UpsampleCase> upsampleCases();
// Beyond the caches, so that outputs aligned to 64 bytes are written past them.
std::vector<UpsampleCase> largeUpsampleCases();
std::vector<HeadCase> headCases();
UpsampleCase madeUpsampleCase(std::mt19937& random);
HeadCase madeHeadCase(std::mt19937& random);

std::string text(UpsampleCase const& c);
std::string text(HeadCase const& c);

}  // namespace fade::tests
