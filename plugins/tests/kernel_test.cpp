// Holds the CPU kernels against loops in double: a table of cases and made ones, every instruction set of this
// processor, float32 and float16, several pools. Prints what fails; exit code 1 if anything did.
//
//   fade_kernel_test [--count N] [--seed S]
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <string>
#include <thread>

#include "buffer.h"
#include "cases.h"

namespace fade::tests {
namespace {

int64_t failures = 0, checks = 0;

void check(bool good, std::string const& what, std::string const& name) {
  ++checks;
  if (good) return;
  if (++failures <= 40) std::printf("FAILED  %s: %s\n", name.c_str(), what.c_str());
}

// ---- pools --------------------------------------------------------------------------------------------------

void runReversed(void*, void (*piece)(void*, size_t), size_t pieces, void* context) {
  while (pieces > 0) piece(context, --pieces);
}
void runThreads(void*, void (*piece)(void*, size_t), size_t pieces, void* context) {
  std::vector<std::thread> threads;
  for (size_t i = 0; i < pieces; ++i) threads.emplace_back(piece, context, i);
  for (std::thread& thread : threads) thread.join();
}

struct Pool {
  char const* name;
  Parallel parallel;
};
std::vector<Pool> const kPools = {{"serial", {nullptr, nullptr, 1}},
                                  {"reversed, threads unknown", {runReversed, nullptr, 0}},
                                  {"3 threads", {runThreads, nullptr, 3}}};

// ---- inputs -------------------------------------------------------------------------------------------------

Values normal(std::mt19937& random, int64_t count, double scale) {
  std::normal_distribution<double> distribution(0, scale);
  Values values(static_cast<size_t>(count));
  for (double& value : values) value = distribution(random);
  return values;
}

// Some NaN and infinities among the logits.
void spoil(std::mt19937& random, Values& logits) {
  double const infinity = std::numeric_limits<double>::infinity();
  double const special[] = {std::nan(""), infinity, -infinity, -infinity};
  for (size_t i = 0; i < 1 + logits.size() / 200; ++i) logits[random() % logits.size()] = special[random() % 4];
}

double largest(Values const& values) {
  double most = 0;
  for (double value : values) most = std::isfinite(value) ? std::max(most, std::fabs(value)) : most;
  return most;
}

// ---- one case on every level and pool -----------------------------------------------------------------------

// Relative to the sum of the magnitudes of an output's terms: float32 rounding of the sums and of the softmax, whose
// error grows with the logits; of storage for float16.
struct Allowed {
  double relative, storage;
};
Allowed allowed(DataType type, double logits) {
  return {4e-6 + 3e-7 * logits, type == DataType::kFloat32 ? 0 : 0x1.0p-11};
}

template <typename Arguments>
void runEverywhere(Arguments arguments, Expected const& want, int64_t outputs, double logits, size_t shift,
                   std::string const& name) {
  Level const before = level();
  for (Level each : {Level::kPortable, Level::kAvx2, Level::kAvx512}) {
    if (!setLevel(each)) continue;
    std::vector<unsigned char> first;
    for (Pool const& pool : kPools) {
      std::string const where = name + ", level " + std::to_string(static_cast<int>(each)) + ", " + pool.name;
      size_t const bytes = scratchBytes(arguments, pool.parallel);
      Buffer scratch(bytes, 4), output(static_cast<size_t>(outputs) * sizeOf(arguments.type), shift * sizeOf(arguments.type));
      scratch.fill(0xff);  // NaN in both types
      output.fill(0xff);
      arguments.output = output.data();
      run(arguments, scratch.data(), pool.parallel);
      check(scratch.intact(), "wrote outside the scratch", where);
      check(output.intact(), "wrote outside the output", where);
      if (!first.empty()) {
        check(std::memcmp(first.data(), output.data(), output.bytes()) == 0, "differs from the serial result", where);
        continue;
      }
      first.assign(output.data(), output.data() + output.bytes());
      Allowed const tolerance = allowed(arguments.type, logits);
      double worst = 0;
      std::string what;
      for (size_t i = 0; i < want.value.size(); ++i) {
        double const got = element(output, arguments.type, i), expect = want.value[i];
        double const room = tolerance.relative * want.magnitude[i] + tolerance.storage * std::fabs(expect) + 1e-7;
        double const ratio = std::isnan(expect) ? (std::isnan(got) ? 0 : 1e9) : std::fabs(got - expect) / room;
        if (!(ratio <= worst)) {
          worst = std::isnan(ratio) ? 1e9 : ratio;
          what = "output " + std::to_string(i) + " is " + std::to_string(got) + ", expected " + std::to_string(expect);
        }
      }
      check(worst <= 1, what, where);
    }
  }
  setLevel(before);
}

// Tensors are aligned to their elements only, by way of `shift` elements of offset.
void runUpsample(UpsampleCase const& c, DataType type, bool special, size_t shift, std::mt19937& random) {
  int64_t const s = c.scale, low = c.height * c.width, plane = low * s * s, taps = c.kernelSize * c.kernelSize;
  double const spread = random() % 4 == 0 ? 20 : 2;
  UpsampleArguments a;
  a.type = type, a.batch = c.batch, a.channels = c.channels, a.height = c.height, a.width = c.width;
  a.kernelSize = c.kernelSize, a.scale = c.scale, a.groups = c.groups, a.terms = c.terms;
  a.softmax = c.softmax, a.weightKind = c.weight;
  UpsampleValues values;
  values.decoder = normal(random, c.batch * c.terms * c.channels * low, 1);
  values.kernels = normal(random, c.batch * c.terms * c.groups * taps * plane, c.softmax ? spread : 0.3);
  if (special) spoil(random, values.kernels);
  Buffer const decoder = stored(values.decoder, type, shift), kernels = stored(values.kernels, type, shift);
  Buffer decoderLogits, weight, encoder, base;
  a.decoder = decoder.data(), a.kernels = kernels.data();
  if (c.decoderLogits) {
    values.decoderLogits = normal(random, c.batch * c.terms * taps * low, spread);
    decoderLogits = stored(values.decoderLogits, type, shift);
    a.decoderLogits = decoderLogits.data();
  }
  if (c.weight != DecoderWeight::kOne) {
    values.weight = normal(random, c.batch * c.terms * low, 2);
    weight = stored(values.weight, type, shift);
    a.weight = weight.data();
  }
  if (c.encoder) {
    values.encoder = normal(random, c.batch * c.channels * plane, 1);
    encoder = stored(values.encoder, type, shift);
    a.encoder = encoder.data();
  }
  if (c.base != Base::kNone) {
    int64_t const wide = c.width * s;
    int64_t const strides[][4] = {{0, 0, 0, 0}, {c.channels * plane, plane, wide, 1}, {0, 0, 0, 0}, {0, 1, 0, 0}, {wide, 0, 0, 1}};
    int64_t const counts[] = {0, c.batch * c.channels * plane, 1, c.channels, c.batch * wide};
    std::copy_n(strides[static_cast<int>(c.base)], 4, a.baseStrides);
    values.base = normal(random, counts[static_cast<int>(c.base)], 1);
    base = stored(values.base, type, shift);
    a.base = base.data();
  }
  double const logits = c.softmax ? largest(values.kernels) + largest(values.decoderLogits) : 0;
  runEverywhere(a, expected(a, values), c.batch * c.channels * plane, logits, shift,
                text(c) + (type == DataType::kFloat32 ? " fp32" : " fp16") + (special ? " special logits" : ""));
}

void runHead(HeadCase const& c, DataType type, bool special, std::mt19937& random) {
  int64_t const s = c.scale, low = c.height * c.width, plane = low * s * s, taps = c.kernelSize * c.kernelSize;
  HeadArguments a;
  a.type = type, a.batch = c.batch, a.height = c.height, a.width = c.width;
  a.encoderChannels = c.encoderChannels, a.hiddenChannels = c.hiddenChannels, a.classes = c.classes;
  a.kernelSize = c.kernelSize, a.scale = c.scale;
  HeadValues values;
  size_t const shift = 1 + random() % 15;
  std::vector<Buffer> buffers;
  auto const store = [&](Values& where, int64_t count, double spread) -> void const* {
    where = normal(random, count, spread);
    if (special && (&where == &values.encoderLogits || &where == &values.decoderLogits)) spoil(random, where);
    buffers.push_back(stored(where, type, shift));
    return buffers.back().data();
  };
  for (int t = 0; t < 3; ++t) {
    a.decoderChannels[t] = c.hiddenChannels + c.spareChannels * (t + 1);
    a.decoder[t] = store(values.decoder[t], c.batch * a.decoderChannels[t] * low, 1);
  }
  a.encoderLogits = store(values.encoderLogits, c.batch * 3 * taps * plane, 2);
  a.decoderLogits = store(values.decoderLogits, c.batch * 3 * taps * low, 2);
  a.gateLogits = store(values.gateLogits, c.batch * 3 * low, 2);
  a.encoder = store(values.encoder, c.batch * c.encoderChannels * plane, 1);
  a.encoderWeight = store(values.encoderWeight, c.hiddenChannels * (4 * c.encoderChannels + 3), 0.3);
  a.encoderBias = store(values.encoderBias, c.hiddenChannels, 0.5);
  a.classWeight = store(values.classWeight, c.classes * c.hiddenChannels, 0.3);
  a.classBias = store(values.classBias, c.classes, 1);
  runEverywhere(a, expected(a, values), c.batch * c.classes * plane,
                largest(values.encoderLogits) + largest(values.decoderLogits), shift,
                text(c) + (type == DataType::kFloat32 ? " fp32" : " fp16") + (special ? " special logits" : ""));
}

// A 1 x 2 image, K = 3, s = 2, worked out by hand: the kernel that picks the right neighbour shifts by one and gives
// zero beyond the border.
void runPencil() {
  float const decoder[2] = {3, 5};
  float kernels[9 * 8] = {};
  for (int i = 0; i < 8; ++i) kernels[5 * 8 + i] = 1;  // tap (1, 2)
  float const want[8] = {5, 5, 0, 0, 5, 5, 0, 0};
  float output[8];
  UpsampleArguments a;
  a.batch = 1, a.channels = 1, a.height = 1, a.width = 2, a.kernelSize = 3, a.scale = 2;
  a.decoder = decoder, a.kernels = kernels, a.output = output;
  Level const before = level();
  for (Level each : {Level::kPortable, Level::kAvx2, Level::kAvx512}) {
    if (!setLevel(each)) continue;
    std::vector<char> scratch(scratchBytes(a, Parallel{}));
    run(a, scratch.data(), Parallel{});
    check(std::equal(want, want + 8, output), "not the hand-worked result", "pencil");
  }
  setLevel(before);
}

}  // namespace

int runAll(int64_t count, uint32_t seed) {
  for (Level each : {Level::kPortable, Level::kAvx2, Level::kAvx512}) {
    Level const before = level();
    if (!setLevel(each)) {
      std::printf("skipped level %d: this processor or build lacks it\n", static_cast<int>(each));
    }
    setLevel(before);
  }
  std::mt19937 random(seed);
  runPencil();
  for (DataType type : {DataType::kFloat32, DataType::kFloat16}) {
    for (UpsampleCase const& c : upsampleCases()) {
      runUpsample(c, type, false, 1 + random() % 15, random);
      if (c.softmax) runUpsample(c, type, true, 1 + random() % 15, random);
    }
    for (HeadCase const& c : headCases()) {
      runHead(c, type, false, random);
      runHead(c, type, true, random);
    }
  }
  for (UpsampleCase const& c : largeUpsampleCases()) runUpsample(c, DataType::kFloat32, false, 0, random);
  for (int64_t i = 0; i < count; ++i) {
    DataType const type = random() % 3 == 0 ? DataType::kFloat16 : DataType::kFloat32;
    UpsampleCase const upsample = madeUpsampleCase(random);
    runUpsample(upsample, type, upsample.softmax && i % 4 == 0, random() % 16, random);
    if (i % 2 == 0) runHead(madeHeadCase(random), type, i % 8 == 0, random);
  }
  std::printf("%s  %lld checks, %lld failed (%lld made cases, seed %u)\n", failures == 0 ? "PASSED" : "FAILED",
              static_cast<long long>(checks), static_cast<long long>(failures), static_cast<long long>(count), seed);
  return failures == 0 ? 0 : 1;
}

}  // namespace fade::tests

int main(int argc, char** argv) {
  long count = 100;
  unsigned long seed = 1;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::string(argv[i]) == "--count") count = std::strtol(argv[i + 1], nullptr, 10);
    if (std::string(argv[i]) == "--seed") seed = std::strtoul(argv[i + 1], nullptr, 10);
  }
  return fade::tests::runAll(count, static_cast<uint32_t>(seed));
}
