// Every block and thread of the CUDA kernel, run on the CPU from the very functions that the GPU
// runs, against loops that follow the formula. What this can't show: that the launch itself is
// right, and how fast it is.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "cuda_emulation.h"

namespace {

using fade::DecoderWeight;
using fade::UpsampleArguments;
namespace cuda = fade::cuda;

int failures = 0;

void expect(bool holds, std::string const& what) {
  if (holds) return;
  ++failures;
  std::printf("FAILED %s\n", what.c_str());
}

struct Case {
  char const* name;
  int64_t batch, channels, height, width;
  int32_t kernelSize, scale, groups, terms;
  bool softmax, hasEncoder, hasDecoderLogits;
  int32_t baseKind;  // 0 none, 1 dense, 2 one number a channel, 3 one number
  DecoderWeight weightKind;
};

// Random storage that starts `shift` elements behind an aligned address.
template <typename T>
struct Tensor {
  std::vector<T> elements;
  int64_t shift;

  Tensor(int64_t count, int64_t shiftBy, std::mt19937& random)
      : elements(static_cast<size_t>(count + shiftBy)), shift(shiftBy) {
    std::normal_distribution<float> normal;
    for (T& element : elements) element = static_cast<T>(normal(random));
  }
  T* data() { return elements.data() + shift; }
};

// What fade_cpu.h says, in double, one output at a time.
template <typename T>
double expected(UpsampleArguments const& a, int64_t n, int64_t c, int64_t outY, int64_t outX) {
  auto const at = [](void const* data, int64_t index) {
    return static_cast<double>(static_cast<T const*>(data)[index]);
  };
  int64_t const K = a.kernelSize, s = a.scale, taps = K * K, y = outY / s, x = outX / s;
  int64_t const outHeight = s * a.height, outWidth = s * a.width;
  int64_t const output = ((n * a.channels + c) * outHeight + outY) * outWidth + outX;
  int64_t const group = c / (a.channels / a.groups);
  double sum = 0;
  if (a.base != nullptr) {
    sum += at(a.base, n * a.baseStrides[0] + c * a.baseStrides[1] + outY * a.baseStrides[2] +
                          outX * a.baseStrides[3]);
  }
  for (int64_t t = 0; t < a.terms; ++t) {
    std::vector<double> weights(static_cast<size_t>(taps));
    for (int64_t tap = 0; tap < taps; ++tap) {
      double& weight = weights[static_cast<size_t>(tap)];
      weight = at(a.kernels, ((((n * a.terms + t) * a.groups + group) * taps + tap) * outHeight +
                              outY) * outWidth +
                                 outX);
      if (a.decoderLogits != nullptr) {
        weight +=
            at(a.decoderLogits, (((n * a.terms + t) * taps + tap) * a.height + y) * a.width + x);
      }
      if (a.softmax) weight = std::exp(weight);
    }
    double total = 1;
    if (a.softmax) {
      total = 0;
      for (double const weight : weights) total += weight;
    }
    double reassembled = 0;
    for (int64_t tap = 0; tap < taps; ++tap) {
      int64_t const sourceY = y + tap / K - K / 2, sourceX = x + tap % K - K / 2;
      if (sourceY < 0 || sourceY >= a.height || sourceX < 0 || sourceX >= a.width) continue;
      int64_t const source =
          (((n * a.terms + t) * a.channels + c) * a.height + sourceY) * a.width + sourceX;
      reassembled += weights[static_cast<size_t>(tap)] / total * at(a.decoder, source);
    }
    double share = 1;
    if (a.weightKind != DecoderWeight::kOne) {
      double const weight = at(a.weight, ((n * a.terms + t) * a.height + y) * a.width + x);
      share = a.weightKind == DecoderWeight::kGiven ? weight : 1 / (1 + std::exp(weight));
      if (a.encoder != nullptr) sum += (1 - share) * at(a.encoder, output);
    }
    sum += share * reassembled;
  }
  return sum;
}

template <typename T>
void testCase(Case const& given, int64_t shift, int64_t gridSize, bool inPlace, double tolerance) {
  std::mt19937 random(static_cast<uint32_t>(given.channels * 7 + given.height));
  int64_t const pixels = given.height * given.width, outPixels = pixels * given.scale * given.scale;
  int64_t const taps = given.kernelSize * given.kernelSize,
                outputs = given.batch * given.channels * outPixels;
  Tensor<T> decoder(given.batch * given.terms * given.channels * pixels, shift, random);
  Tensor<T> kernels(given.batch * given.terms * given.groups * taps * outPixels, shift, random);
  Tensor<T> logits(given.batch * given.terms * taps * pixels, shift, random);
  Tensor<T> weight(given.batch * given.terms * pixels, shift, random);
  Tensor<T> encoder(outputs, shift, random), base(outputs, shift, random),
      output(outputs, shift, random);
  Tensor<T> const encoderBefore = encoder;
  UpsampleArguments a;
  a.batch = given.batch;
  a.channels = given.channels;
  a.height = given.height;
  a.width = given.width;
  a.kernelSize = given.kernelSize;
  a.scale = given.scale;
  a.groups = given.groups;
  a.terms = given.terms;
  a.decoder = decoder.data();
  a.kernels = kernels.data();
  a.decoderLogits = given.hasDecoderLogits ? logits.data() : nullptr;
  a.softmax = given.softmax;
  a.weightKind = given.weightKind;
  a.weight = given.weightKind == DecoderWeight::kOne ? nullptr : weight.data();
  a.encoder = given.hasEncoder ? encoder.data() : nullptr;
  a.base = given.baseKind == 0 ? nullptr : base.data();
  if (given.baseKind == 1) {
    int64_t const width = given.width * given.scale;
    int64_t const strides[4] = {given.channels * outPixels, outPixels, width, 1};
    std::copy(strides, strides + 4, a.baseStrides);
  } else if (given.baseKind == 2) {
    a.baseStrides[1] = 1;
  }
  a.output = inPlace ? encoder.data() : output.data();
  std::string const name = std::string(given.name) + (sizeof(T) == 4 ? " float32" : " float16") +
                           " shift " + std::to_string(shift) + " grid " + std::to_string(gridSize) +
                           (inPlace ? " in place" : "");
  expect(cuda::isValid(a), name + ": refused");
  auto const nothing = static_cast<T>(-12345);
  if (!inPlace) std::fill(output.elements.begin(), output.elements.end(), nothing);
  fade::cuda::emulate<T>(a, gridSize);
  T const* const found = static_cast<T const*>(a.output);
  Tensor<T> encoderCopy = encoderBefore;
  if (given.hasEncoder) a.encoder = encoderCopy.data();
  double worst = 0;
  for (int64_t n = 0, i = 0; n < given.batch; ++n) {
    for (int64_t c = 0; c < given.channels; ++c) {
      for (int64_t y = 0; y < given.height * given.scale; ++y) {
        for (int64_t x = 0; x < given.width * given.scale; ++x, ++i) {
          double const wanted = expected<T>(a, n, c, y, x);
          double const error =
              std::abs(static_cast<double>(found[i]) - wanted) / std::max(1.0, std::abs(wanted));
          worst = std::isnan(error) ? INFINITY : std::max(worst, error);
        }
      }
    }
  }
  expect(worst <= tolerance, name + ": error " + std::to_string(worst));
  for (int64_t i = 0; i < shift && !inPlace; ++i) {
    expect(output.elements[static_cast<size_t>(i)] == nothing, name + ": wrote before the output");
  }
}

void testNumbers() {
  constexpr auto kOne = DecoderWeight::kOne, kGiven = DecoderWeight::kGiven,
                 kGate = DecoderWeight::kOneMinusSigmoid;
  std::vector<Case> cases;
  for (int32_t const kernelSize : {1, 3, 5, 7}) {
    for (int32_t const scale : {1, 2, 4}) {
      cases.push_back(
          {"reassemble", 2, 6, 3, 5, kernelSize, scale, 1, 1, false, false, false, 0, kOne});
      cases.push_back({"reassemble 3 groups", 2, 6, 3, 5, kernelSize, scale, 3, 1, false, false,
                       false, 0, kOne});
      cases.push_back(
          {"upsample", 2, 6, 3, 5, kernelSize, scale, 1, 1, true, true, false, 0, kGate});
      cases.push_back(
          {"upsample and add", 2, 6, 3, 5, kernelSize, scale, 1, 1, true, true, true, 1, kGate});
      cases.push_back(
          {"accumulate", 2, 6, 3, 5, kernelSize, scale, 1, 1, true, false, false, 2, kGiven});
      cases.push_back({"accumulate 3 terms", 2, 6, 3, 5, kernelSize, scale, 1, 3, true, false,
                       false, 3, kGiven});
    }
  }
  cases.push_back({"one pixel", 1, 1, 1, 1, 5, 2, 1, 1, true, true, false, 0, kGate});
  cases.push_back({"several tiles", 1, 19, 9, 70, 5, 2, 1, 1, true, true, false, 0, kGate});
  cases.push_back({"whole tiles", 3, 2, 8, 64, 5, 2, 1, 1, true, true, true, 1, kGate});
  cases.push_back({"many channels", 1, 300, 2, 3, 5, 2, 1, 1, true, true, false, 0, kGate});
  cases.push_back({"groups in chunks", 1, 75, 2, 3, 5, 2, 3, 1, false, false, false, 0, kOne});
  cases.push_back({"terms, dense base", 1, 20, 5, 3, 3, 2, 1, 2, true, false, true, 1, kGiven});
  for (Case const& given : cases) {
    for (int64_t const shift : {0, 1}) testCase<float>(given, shift, 1, false, 1e-5);
    testCase<float>(given, 0, 7, false, 1e-5);
    if (given.hasEncoder) testCase<float>(given, 0, 1, true, 1e-5);
#ifdef __FLT16_MAX__
    testCase<_Float16>(given, 0, 1, false, 1e-3);
    testCase<_Float16>(given, 1, 1, false, 1e-3);
#endif
  }
  std::printf("%zu cases against loops\n", cases.size());
}

// Blocks of sizes that no memory holds: every one in its place, and addresses beyond 32 bits.
void testLargeSizes() {
  UpsampleArguments a;
  a.batch = 70'000;
  a.channels = 96;
  a.groups = 3;
  a.height = 5'001;
  a.width = 9'999;
  using Of = cuda::Shape<5, 2, false>;
  cuda::Grid const grid = cuda::gridFor(a, Of::kParts);
  expect(grid.tilesX == 313 && grid.tilesY == 1251 && grid.chunks == 1, "large: tiles");
  expect(grid.blocks == int64_t{313} * 1251 * 3 * 70'000, "large: number of blocks");
  cuda::Block const last = cuda::blockAt(a, grid, grid.blocks - 1);
  expect(last.n == 69'999 && last.group == 2 && last.firstChannel == 64 && last.lastChannel == 96,
         "large: last channels");
  expect(last.x == 312 * 32 && last.y == 1250 * 4, "large: last tile");
  cuda::Thread<float, 5, 2, false> const thread(a, last, true, 14, 0);
  expect(thread.isInside(), "large: the last pixel is inside");
  expect(!cuda::Thread<float, 5, 2, false>(a, last, true, 15, 0).isInside(),
         "large: one beyond is not");
  expect(!cuda::Thread<float, 5, 2, false>(a, last, true, 14, 1).isInside(),
         "large: one below is not");
  int64_t const pixels = int64_t{2 * 5'001} * (2 * 9'999);
  expect(thread.outputIndex(95, 1) == 70'000 * 96 * pixels - 2,
         "large: address of the last outputs");
}

void testChunks() {
  UpsampleArguments a;
  a.batch = 1;
  a.channels = 256;
  a.height = a.width = 8;  // 2 tiles
  cuda::Grid grid = cuda::gridFor(a, 1);
  expect(grid.channelsPerChunk == 8 && grid.chunks == 32, "chunks: few blocks divide the channels");
  a.height = a.width = 1024;
  grid = cuda::gridFor(a, 1);
  expect(grid.chunks == 1, "chunks: many do not");
  a.channels = 7;
  a.height = a.width = 8;
  grid = cuda::gridFor(a, 1);
  expect(grid.channelsPerChunk == 7 && grid.chunks == 1, "chunks: never below the fewest");
}

void testAlignment() {
  alignas(16) float numbers[8] = {};
  UpsampleArguments good;
  good.kernels = good.encoder = &numbers[0];
  good.output = &numbers[4];
  expect(cuda::rowsAreAligned(good, 16), "alignment: all four");
  good.encoder = nullptr;
  expect(cuda::rowsAreAligned(good, 16), "alignment: without an encoder");
  for (int32_t tensor = 0; tensor < 3; ++tensor) {
    UpsampleArguments bad = good;
    if (tensor == 0) bad.kernels = &numbers[1];
    if (tensor == 1) bad.encoder = &numbers[1];
    if (tensor == 2) bad.output = &numbers[1];
    expect(!cuda::rowsAreAligned(bad, 8), "alignment: tensor " + std::to_string(tensor));
    expect(cuda::rowsAreAligned(bad, 4),
           "alignment: single elements, tensor " + std::to_string(tensor));
  }
}

void testRefusals() {
  float number = 0;
  UpsampleArguments good;
  good.batch = good.channels = good.height = good.width = 1;
  good.decoder = good.kernels = &number;
  good.output = &number;
  expect(cuda::isValid(good), "refusals: a good one");
  UpsampleArguments bad = good;
  bad.groups = 2;
  expect(!cuda::isValid(bad), "refusals: groups do not divide");
  bad = good;
  bad.groups = 0;
  expect(!cuda::isValid(bad), "refusals: no group");
  bad = good;
  bad.width = -1;
  expect(!cuda::isValid(bad), "refusals: negative");
  bad = good;
  bad.width = int64_t{1} << 40;
  expect(!cuda::isValid(bad), "refusals: a side beyond 32 bits");
  bad = good;
  bad.kernels = nullptr;
  expect(!cuda::isValid(bad), "refusals: no kernels");
  bad = good;
  bad.weightKind = DecoderWeight::kGiven;
  expect(!cuda::isValid(bad), "refusals: no weight");
  bad = good;
  bad.encoder = &number;
  expect(!cuda::isValid(bad), "refusals: an encoder without a gate");
  bad = good;
  bad.decoderLogits = &number;
  expect(!cuda::isValid(bad), "refusals: logits without a softmax");
  bad = good;
  bad.height = 0;
  bad.decoder = bad.kernels = nullptr;
  expect(cuda::isValid(bad), "refusals: an empty one needs nothing");
}

}  // namespace

int main() {
  testNumbers();
  testLargeSizes();
  testChunks();
  testAlignment();
  testRefusals();
  std::printf(failures == 0 ? "PASSED\n" : "FAILED: %d\n", failures);
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
