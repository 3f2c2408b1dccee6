#include "cases.h"

#include <sstream>

namespace fade::tests {
namespace {

constexpr DecoderWeight kOne = DecoderWeight::kOne, kGiven = DecoderWeight::kGiven, kGate = DecoderWeight::kOneMinusSigmoid;

// Small dimensions mostly, with the neighbourhood of every vector width among them.
int64_t size(std::mt19937& random, int64_t most) {
  static constexpr int64_t kInteresting[] = {1, 2, 3, 4, 5, 7, 8, 9, 11, 13, 15, 16, 17, 19, 23, 31, 32, 33, 37, 47, 65};
  int64_t const value = kInteresting[random() % (sizeof(kInteresting) / sizeof(*kInteresting))];
  return value <= most ? value : 1 + value % most;
}

}  // namespace

std::vector<UpsampleCase> upsampleCases() {
  std::vector<UpsampleCase> cases = {
      // N, C, H, W, K, s, G, T, softmax, decoderLogits, encoder, weight, base
      {1, 1, 1, 1, 5, 2, 1, 1, true, false, true, kGate, Base::kNone},
      {1, 1, 1, 1, 1, 1, 1, 1, false, false, false, kOne, Base::kNone},
      {2, 19, 5, 7, 5, 2, 1, 1, true, false, true, kGate, Base::kNone},
      {1, 34, 16, 16, 5, 2, 1, 1, true, false, true, kGate, Base::kNone},
      {1, 7, 9, 64, 5, 2, 1, 1, true, false, true, kGate, Base::kNone},
      {1, 5, 40, 33, 5, 2, 1, 1, true, true, true, kGate, Base::kDense},
      {2, 6, 11, 17, 5, 2, 1, 3, true, false, false, kGiven, Base::kDense},
      {1, 9, 6, 20, 5, 2, 1, 1, true, false, false, kGiven, Base::kScalar},
      {2, 4, 6, 20, 5, 2, 1, 1, true, false, false, kGiven, Base::kChannel},
      {1, 4, 6, 20, 5, 2, 1, 2, true, false, false, kGiven, Base::kRow},
      {1, 12, 8, 24, 5, 2, 4, 1, false, false, false, kOne, Base::kNone},
      {1, 12, 3, 300, 5, 2, 1, 1, true, false, true, kGate, Base::kNone},  // several tiles across
      {1, 3, 70, 4, 5, 2, 1, 1, true, false, true, kGate, Base::kNone},
  };
  for (int32_t kernelSize : {1, 3, 5, 7}) {
    for (int32_t scale : {1, 2, 4}) {
      cases.push_back({2, 10, 5, 19, kernelSize, scale, 2, 1, false, false, false, kOne, Base::kNone});
      cases.push_back({1, 9, 7, 16, kernelSize, scale, 1, 1, true, false, true, kGate, Base::kNone});
      cases.push_back({1, 5, 3, 21, kernelSize, scale, 1, 2, true, true, false, kGiven, Base::kDense});
    }
  }
  return cases;
}

std::vector<UpsampleCase> largeUpsampleCases() {
  return {{1, 130, 64, 64, 5, 2, 1, 1, true, false, true, kGate, Base::kNone},
          {1, 17, 256, 256, 3, 2, 1, 1, false, false, false, kOne, Base::kDense}};
}

std::vector<HeadCase> headCases() {
  std::vector<HeadCase> cases = {
      // N, H, W, C, E, M, spare channels of the decoders, K, s
      {1, 1, 1, 1, 1, 1, 0, 5, 2},   {2, 5, 7, 3, 17, 4, 2, 5, 2},    {1, 16, 16, 8, 32, 150, 1, 5, 2},
      {1, 9, 13, 5, 40, 19, 0, 5, 2}, {2, 17, 25, 4, 33, 13, 1, 5, 2}, {1, 3, 40, 0, 16, 2, 0, 5, 2},
  };
  for (int32_t kernelSize : {1, 3, 5, 7}) {
    for (int32_t scale : {1, 2, 4}) cases.push_back({1, 6, 11, 3, 20, 7, 1, kernelSize, scale});
  }
  return cases;
}

UpsampleCase madeUpsampleCase(std::mt19937& random) {
  static constexpr int32_t kSizes[] = {1, 3, 5, 7}, kScales[] = {1, 2, 4};
  UpsampleCase c{};
  c.batch = 1 + random() % 3, c.height = size(random, 20), c.width = size(random, 70);
  bool const tuned = random() % 2 == 0;
  c.kernelSize = tuned ? 5 : kSizes[random() % 4];
  c.scale = tuned ? 2 : kScales[random() % 3];
  c.groups = random() % 3 == 0 ? static_cast<int32_t>(1 + random() % 4) : 1;
  c.channels = c.groups * size(random, 20);
  c.terms = random() % 3 == 0 ? static_cast<int32_t>(1 + random() % 3) : 1;
  c.softmax = random() % 3 != 0;
  c.decoderLogits = c.softmax && c.groups == 1 && random() % 2 == 0;
  c.weight = static_cast<DecoderWeight>(random() % 3);
  c.encoder = c.weight == kGate && c.terms == 1 && random() % 4 != 0;
  c.base = static_cast<Base>(random() % 5);
  return c;
}

HeadCase madeHeadCase(std::mt19937& random) {
  static constexpr int32_t kSizes[] = {1, 3, 5, 7}, kScales[] = {1, 2, 4};
  HeadCase c{};
  bool const tuned = random() % 2 == 0;
  c.kernelSize = tuned ? 5 : kSizes[random() % 4];
  c.scale = tuned ? 2 : kScales[random() % 3];
  c.batch = 1 + random() % 2, c.height = size(random, 18), c.width = size(random, 30);
  c.encoderChannels = size(random, 9), c.hiddenChannels = size(random, 50), c.classes = size(random, 30);
  c.spareChannels = random() % 3;
  return c;
}

std::string text(UpsampleCase const& c) {
  std::ostringstream out;
  out << "upsample N" << c.batch << " C" << c.channels << " H" << c.height << " W" << c.width << " K" << c.kernelSize
      << " s" << c.scale << " G" << c.groups << " T" << c.terms << (c.softmax ? " softmax" : "")
      << (c.decoderLogits ? " decoderLogits" : "") << (c.encoder ? " encoder" : "") << " weight"
      << static_cast<int>(c.weight) << " base" << static_cast<int>(c.base);
  return out.str();
}

std::string text(HeadCase const& c) {
  std::ostringstream out;
  out << "head N" << c.batch << " H" << c.height << " W" << c.width << " C" << c.encoderChannels << " E"
      << c.hiddenChannels << " M" << c.classes << " spare" << c.spareChannels << " K" << c.kernelSize << " s" << c.scale;
  return out.str();
}

}  // namespace fade::tests
