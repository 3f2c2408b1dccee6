// Every block and thread of the CUDA kernels, run on the CPU from the very functions that the GPU runs,
// against loops in double: a table of cases and made ones, every storage type, aligned and unaligned
// tensors, threads in several orders. Prints what fails; exit code 1 if anything did. What this can't
// show: what the compiler for GPUs makes of it, and how fast it is.
//
//   cuda_kernel_test [--count N] [--seed S]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "buffer.h"
#include "cases.h"
#include "cuda_bfloat16.h"
#include "cuda_emulation.h"
#include "fade_cuda_choice.h"

namespace fade::tests {
namespace {

int64_t failures = 0, checks = 0;

void expect(bool holds, std::string const& what) {
  ++checks;
  if (holds) return;
  if (++failures <= 40) std::printf("FAILED  %s\n", what.c_str());
}

// ---- tensors ------------------------------------------------------------------------------------------------

char const* name(DataType type) {
  return type == DataType::kFloat32 ? "float32" : type == DataType::kFloat16 ? "float16" : "bfloat16";
}

// Normal values as `type` stores them, `shift` elements from an aligned address.
Buffer made(std::mt19937& random, int64_t count, double spread, DataType type, size_t shift, Values& values,
            bool isSpecial = false) {
  std::normal_distribution<float> normal(0, static_cast<float>(spread));
  values.resize(static_cast<size_t>(count));
  for (double& value : values) value = normal(random);
  if (isSpecial) {
    double const infinity = std::numeric_limits<double>::infinity();
    double const special[] = {std::nan(""), infinity, -infinity, -infinity};
    for (size_t i = 0; i < 1 + values.size() / 200; ++i) values[random() % values.size()] = special[random() % 4];
  }
  if (type != DataType::kBfloat16) return stored(values, type, shift);
  Buffer buffer(values.size() * 2, shift * 2);
  for (size_t i = 0; i < values.size(); ++i) {
    uint16_t const bits = bfloat16FromFloat(static_cast<float>(values[i]));
    std::memcpy(buffer.data() + i * 2, &bits, 2);
    values[i] = floatFromBfloat16(bits);
  }
  return buffer;
}

double valueOf(Buffer const& buffer, DataType type, size_t index) {
  if (type != DataType::kBfloat16) return element(buffer, type, index);
  uint16_t bits;
  std::memcpy(&bits, buffer.data() + index * 2, 2);
  return floatFromBfloat16(bits);
}

double largest(Values const& values) {
  double most = 0;
  for (double value : values) most = std::isfinite(value) ? std::max(most, std::fabs(value)) : most;
  return most;
}

// ---- one case -----------------------------------------------------------------------------------------------

struct How {
  DataType type;
  size_t shift;  // of every tensor from its alignment, in elements
  bool inPlace, isSpecial;
  cuda::Emulation emulation;
};

// Rounding of the sums and of the softmax in float32, relative to the magnitudes that are summed; the error of the
// softmax grows with the logits. Storage of the output, and on tensor cores of the weights, by `type`.
double roomFor(UpsampleArguments const& a, double logits, double value, double magnitude, bool isMatrix) {
  double const storage = a.type == DataType::kFloat32 ? 0 : a.type == DataType::kFloat16 ? 0x1p-11 : 0x1p-8;
  return (4e-6 + 3e-7 * logits + (isMatrix ? storage : 0)) * magnitude + storage * std::fabs(value) + 1e-6;
}

void runCase(UpsampleCase const& c, How const& how, std::mt19937& random) {
  int64_t const s = c.scale, low = c.height * c.width, plane = low * s * s, taps = c.kernelSize * c.kernelSize;
  int64_t const outputs = c.batch * c.channels * plane;
  UpsampleArguments a;
  a.type = how.type, a.batch = c.batch, a.channels = c.channels, a.height = c.height, a.width = c.width;
  a.kernelSize = c.kernelSize, a.scale = c.scale, a.groups = c.groups, a.terms = c.terms;
  a.softmax = c.softmax, a.weightKind = c.weight;
  UpsampleValues values;
  double const spread = random() % 4 == 0 ? 20 : 2;
  auto const make = [&](Values& where, int64_t count, double width, bool isSpecial = false) {
    return made(random, count, width, how.type, how.shift, where, isSpecial);
  };
  Buffer const decoder = make(values.decoder, c.batch * c.terms * c.channels * low, 1);
  Buffer const kernels = make(values.kernels, c.batch * c.terms * c.groups * taps * plane, c.softmax ? spread : 0.3,
                              c.softmax && how.isSpecial);
  Buffer decoderLogits, weight, encoder, base;
  a.decoder = decoder.data(), a.kernels = kernels.data();
  if (c.decoderLogits) a.decoderLogits = (decoderLogits = make(values.decoderLogits, c.batch * c.terms * taps * low, spread)).data();
  if (c.weight != DecoderWeight::kOne) a.weight = (weight = make(values.weight, c.batch * c.terms * low, 2)).data();
  if (c.encoder) a.encoder = (encoder = make(values.encoder, outputs, 1)).data();
  if (c.base != Base::kNone) {
    int64_t const wide = c.width * s;
    int64_t const strides[][4] = {{}, {c.channels * plane, plane, wide, 1}, {0, 0, 0, 0}, {0, 1, 0, 0}, {wide, 0, 0, 1}};
    int64_t const counts[] = {0, outputs, 1, c.channels, c.batch * wide};
    std::copy_n(strides[static_cast<int>(c.base)], 4, a.baseStrides);
    a.base = (base = make(values.base, counts[static_cast<int>(c.base)], 1)).data();
  }
  Expected const want = expected(a, values);
  Buffer output(static_cast<size_t>(outputs) * sizeOf(how.type), how.shift * sizeOf(how.type));
  output.fill(0xff);  // NaN in every type
  Buffer const& found = how.inPlace ? encoder : output;
  a.output = found.data();
  std::string const where = text(c) + " " + name(how.type) + " shift " + std::to_string(how.shift) + " order " +
                            std::to_string(static_cast<int>(how.emulation.order)) + (how.inPlace ? " in place" : "") +
                            (how.isSpecial ? " special logits" : "") +
                            (how.emulation.hasMatrixUnits ? "" : " without matrix units");
  expect(cuda::isValid(a), where + ": refused");
  cuda::emulate(a, how.emulation);

  bool const isMatrix = cuda::isMatrixCase(cuda::workOf(a)) && how.emulation.hasMatrixUnits;
  double const logits = c.softmax ? largest(values.kernels) + largest(values.decoderLogits) : 0;
  double worst = 0;
  std::string what;
  for (size_t i = 0; i < want.value.size(); ++i) {
    double const got = valueOf(found, how.type, i), value = want.value[i];
    double const room = roomFor(a, logits, value, want.magnitude[i], isMatrix);
    double const ratio = std::isnan(value) ? (std::isnan(got) ? 0 : 1e9) : std::fabs(got - value) / room;
    if (ratio <= worst) continue;
    worst = std::isnan(ratio) ? 1e9 : ratio;
    what = "output " + std::to_string(i) + " is " + std::to_string(got) + ", expected " + std::to_string(value);
  }
  expect(worst <= 1, where + ": " + what);
  Buffer const* const all[] = {&decoder, &kernels, &decoderLogits, &weight, &encoder, &base, &output};
  for (Buffer const* each : all) {
    expect(each->intact(), where + ": wrote outside of a tensor");
  }
}

// What of `how` a case can have, in turns.
void runTurn(UpsampleCase const& c, int64_t turn, std::mt19937& random) {
  for (DataType const type : {DataType::kFloat32, DataType::kFloat16, DataType::kBfloat16}) {
    How how{};
    how.type = type;
    how.shift = static_cast<size_t>(turn % 3 == 0 ? 1 : turn % 3 == 1 ? 0 : 2);
    how.inPlace = c.encoder && turn % 4 == 3;
    how.isSpecial = turn % 5 == 4;
    how.emulation.order = static_cast<cuda::Order>(turn / 3 % 3);
    how.emulation.copiesLate = turn % 7 != 6;
    how.emulation.hasMatrixUnits = turn % 4 != 2;
    runCase(c, how, random);
  }
}

// What random sizes seldom hit: rows of 16-byte accesses, several blocks and steps, both tiles, every addend, T = 2, 3, 4.
std::vector<UpsampleCase> tunedCases() {
  constexpr DecoderWeight kOne = DecoderWeight::kOne, kGiven = DecoderWeight::kGiven,
                          kGate = DecoderWeight::kOneMinusSigmoid;
  return {
      // N, C, H, W, K, s, G, T, softmax, decoderLogits, encoder, weight, base
      {2, 40, 5, 40, 5, 2, 1, 1, true, false, true, kGate, Base::kNone},
      {1, 72, 16, 16, 5, 2, 1, 1, true, false, true, kGate, Base::kNone},
      {1, 16, 9, 44, 5, 2, 1, 1, true, true, true, kGate, Base::kDense},
      {1, 33, 10, 8, 5, 2, 1, 1, true, true, true, kGate, Base::kDense},
      {1, 50, 4, 64, 5, 2, 1, 1, true, false, false, kGiven, Base::kDense},
      {1, 20, 4, 32, 5, 2, 1, 1, true, false, false, kGiven, Base::kChannel},
      {2, 20, 4, 32, 5, 2, 1, 1, true, true, true, kGate, Base::kRow},
      {1, 48, 6, 24, 5, 2, 3, 1, false, false, false, kOne, Base::kNone},
      {1, 48, 6, 24, 5, 2, 3, 1, true, false, false, kOne, Base::kScalar},
      {1, 40, 7, 48, 5, 2, 1, 2, true, false, false, kGiven, Base::kDense},
      {2, 70, 9, 16, 5, 2, 1, 3, true, false, false, kGiven, Base::kDense},
      {1, 35, 5, 40, 5, 2, 1, 3, true, true, false, kGate, Base::kChannel},
      {1, 35, 5, 21, 5, 2, 1, 3, true, false, false, kGiven, Base::kRow},
      {1, 18, 4, 16, 5, 2, 2, 4, true, false, false, kGiven, Base::kDense},
  };
}

// ---- how a launch is divided --------------------------------------------------------------------------------

// Blocks of sizes that no memory holds: every one in its place, and addresses beyond 32 bits.
void testLargeSizes() {
  UpsampleArguments a;
  a.batch = 70'000, a.channels = 96, a.groups = 3, a.height = 5'001, a.width = 9'999;
  cuda::Grid const grid = cuda::gridFor(a, {32, 4, 1, 16, 1024});
  expect(grid.tilesX == 313 && grid.tilesY == 1251 && grid.chunks == 1, "large: tiles");
  expect(grid.blocks == int64_t{313} * 1251 * 3 * 70'000, "large: number of blocks");
  cuda::Block const last = cuda::blockAt(a, grid, grid.blocks - 1);
  expect(last.n == 69'999 && last.group == 2 && last.firstChannel == 64 && last.lastChannel == 96, "large: last channels");
  expect(last.x == 312 * 32 && last.y == 1250 * 4, "large: last tile");
}

void testChunks() {
  UpsampleArguments a;
  a.batch = 8, a.channels = 256, a.height = a.width = 16;
  cuda::Division const division{16, 8, 1, 16, 1024};
  cuda::Grid grid = cuda::gridFor(a, division);
  expect(grid.channelsPerChunk == 16 && grid.blocks == 256, "chunks: few blocks divide the channels");
  a.height = a.width = 1024;
  grid = cuda::gridFor(a, division);
  expect(grid.chunks == 1, "chunks: many do not");
  a.channels = 7, a.height = a.width = 8;
  grid = cuda::gridFor(a, division);
  expect(grid.channelsPerChunk == 16 && grid.chunks == 1, "chunks: never below a step");
  a.channels = 40;
  grid = cuda::gridFor(a, {16, 8, 1, 16, 16});
  cuda::Block const block = cuda::blockAt(a, grid, 1);
  expect(grid.chunks == 2 && block.firstChannel == 32 && block.lastChannel == 40, "chunks: the last one is shorter");
}

void testAlignment() {
  alignas(64) uint16_t numbers[64] = {};
  UpsampleArguments good;
  good.type = DataType::kFloat16, good.batch = good.channels = good.height = 1, good.width = 4;
  good.decoder = good.kernels = good.encoder = &numbers[0];
  good.output = &numbers[32];
  expect(cuda::workOf(good).hasWideRows, "alignment: all of it");
  for (int32_t tensor = 0; tensor < 6; ++tensor) {
    UpsampleArguments bad = good;
    if (tensor == 0) bad.kernels = &numbers[4];
    if (tensor == 1) bad.encoder = &numbers[4];
    if (tensor == 2) bad.output = &numbers[4];
    if (tensor == 3) bad.base = &numbers[4], bad.baseStrides[3] = 1;
    if (tensor == 4) bad.decoder = &numbers[2];
    if (tensor == 5) bad.width = 6;
    expect(!cuda::workOf(bad).hasWideRows, "alignment: tensor " + std::to_string(tensor));
  }
  good.decoder = &numbers[4];
  expect(cuda::workOf(good).hasWideRows, "alignment: 8 bytes are enough for the decoder");
  good.base = &numbers[0], good.baseStrides[2] = 4, good.baseStrides[3] = 1;
  expect(!cuda::workOf(good).hasWideRows, "alignment: strides of the base");
  expect(cuda::rowsAreAligned(cuda::workOf(good), 2, 8), "alignment: which are multiples of 8 bytes");
  good.base = &numbers[1], good.baseStrides[3] = 0;
  expect(cuda::workOf(good).hasWideRows, "alignment: single elements");
}

void testRefusals() {
  float number = 0;
  UpsampleArguments good;
  good.batch = good.channels = good.height = good.width = 1;
  good.decoder = good.kernels = good.output = &number;
  expect(cuda::isValid(good), "refusals: a good one");
  auto const refuses = [&](char const* what, auto const& spoil) {
    UpsampleArguments bad = good;
    spoil(bad);
    expect(!cuda::isValid(bad), std::string("refusals: ") + what);
  };
  refuses("groups do not divide", [](UpsampleArguments& a) { a.groups = 2; });
  refuses("no group", [](UpsampleArguments& a) { a.groups = 0; });
  refuses("no term", [](UpsampleArguments& a) { a.terms = 0; });
  refuses("K", [](UpsampleArguments& a) { a.kernelSize = 2; });
  refuses("scale", [](UpsampleArguments& a) { a.scale = 3; });
  refuses("negative", [](UpsampleArguments& a) { a.width = -1; });
  refuses("a side beyond 32 bits", [](UpsampleArguments& a) { a.width = int64_t{1} << 40; });
  refuses("no kernels", [](UpsampleArguments& a) { a.kernels = nullptr; });
  refuses("no weight", [](UpsampleArguments& a) { a.weightKind = DecoderWeight::kGiven; });
  refuses("an encoder without a gate", [&](UpsampleArguments& a) { a.encoder = &number; });
  refuses("logits without a softmax", [&](UpsampleArguments& a) { a.decoderLogits = &number; });
  good.height = 0, good.decoder = good.kernels = nullptr;
  expect(cuda::isValid(good), "refusals: an empty one needs nothing");
}

int64_t number(int count, char** words, char const* option, int64_t otherwise) {
  for (int i = 1; i + 1 < count; ++i) {
    if (std::strcmp(words[i], option) == 0) return std::atoll(words[i + 1]);
  }
  return otherwise;
}

int run(int argumentCount, char** words) {
  std::mt19937 random(static_cast<uint32_t>(number(argumentCount, words, "--seed", 1)));
  int64_t turn = 0;
  for (UpsampleCase const& c : tunedCases()) {
    for (int64_t i = 0; i < 3; ++i) runTurn(c, turn++, random);
    ++turn;
  }
  for (UpsampleCase const& c : upsampleCases()) runTurn(c, turn++, random);
  int64_t const count = number(argumentCount, words, "--count", 40);
  for (int64_t i = 0; i < count; ++i) runTurn(madeUpsampleCase(random), turn++, random);
  testLargeSizes();
  testChunks();
  testAlignment();
  testRefusals();
  std::printf("%lld checks, %lld failed\n", static_cast<long long>(checks), static_cast<long long>(failures));
  return failures == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

}  // namespace
}  // namespace fade::tests

int main(int argumentCount, char** words) { return fade::tests::run(argumentCount, words); }
