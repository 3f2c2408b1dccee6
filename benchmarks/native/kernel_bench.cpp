// Times the CPU kernels, and what this machine could do at best: the rate of fused multiply-adds and of copying.
//
//   fade_kernel_bench [--json] [--repeats N] [--level 0|1|2]
//
// A case's roofline is max(FMA time, memory time): its multiply-adds at the measured rate, and every tensor once over
// the memory at the measured copy bandwidth. Medians of wall time; all cases take turns, so that a change of the
// machine's pace meets all of them.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "fade_cpu.h"

namespace {

using fade::DecoderWeight;
using fade::HeadArguments;
using fade::Parallel;
using fade::UpsampleArguments;

// ---- a pool that waits between calls; its pieces are taken in turn ------------------------------------------------

class Pool {
 public:
  explicit Pool(int threads) : threads_(threads) {
    for (int i = 1; i < threads; ++i) workers_.emplace_back([this] { work(); });
  }
  ~Pool() {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ending_ = true;
    }
    begin_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }
  Parallel parallel() {
    return {threads_ == 1 ? nullptr : &Pool::run, this, threads_};
  }
  static void run(void* pool, void (*piece)(void*, size_t), size_t pieces, void* context) {
    Pool& self = *static_cast<Pool*>(pool);
    {
      std::lock_guard<std::mutex> lock(self.mutex_);
      self.piece_ = piece, self.context_ = context, self.pieces_ = pieces, self.next_ = 0;
      self.busy_ = static_cast<int>(self.workers_.size());
      ++self.generation_;
    }
    self.begin_.notify_all();
    self.take();
    std::unique_lock<std::mutex> lock(self.mutex_);
    self.end_.wait(lock, [&] { return self.busy_ == 0; });
  }

 private:
  void take() {
    for (size_t i = next_++; i < pieces_; i = next_++) piece_(context_, i);
  }
  void work() {
    for (int64_t seen = 0;;) {
      std::unique_lock<std::mutex> lock(mutex_);
      begin_.wait(lock, [&] { return ending_ || generation_ != seen; });
      if (ending_) return;
      seen = generation_;
      lock.unlock();
      take();
      lock.lock();
      if (--busy_ == 0) end_.notify_one();
    }
  }

  int threads_;
  std::vector<std::thread> workers_;
  std::mutex mutex_;
  std::condition_variable begin_, end_;
  void (*piece_)(void*, size_t) = nullptr;
  void* context_ = nullptr;
  size_t pieces_ = 0;
  std::atomic<size_t> next_{0};
  int busy_ = 0;
  int64_t generation_ = 0;
  bool ending_ = false;
};

double now() {
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// ---- the machine -------------------------------------------------------------------------------------------------

constexpr int64_t kSteps = 400000;

// A function that does twelve independent chains of multiply-adds, in vectors of `bytes`, and returns the operations
// done. Twelve variables and not an array: they must be registers at any optimisation level.
#define FADE_TWELVE(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define FADE_DECLARE(i) Vector sum##i = Vector{} + static_cast<float>(i);
#define FADE_ADD(i) result += sum##i[0];
#define FADE_MULTIPLY_ADDS(name, target, bytes, step)                            \
  target double name() {                                                         \
    typedef float Vector __attribute__((vector_size(bytes)));                    \
    Vector const factor = Vector{} + 0.999f, term = Vector{} + 1e-3f;            \
    FADE_TWELVE(FADE_DECLARE)                                                    \
    for (int64_t i = 0; i < kSteps; ++i) {                                       \
      FADE_TWELVE(step)                                                          \
    }                                                                            \
    float result = 0;                                                            \
    FADE_TWELVE(FADE_ADD)                                                        \
    volatile float sink = result;                                                \
    (void)sink;                                                                  \
    return 2.0 * 12 * kSteps * bytes / 4;                                        \
  }
#define FADE_PLAIN(i) sum##i = sum##i * factor + term;
FADE_MULTIPLY_ADDS(multiplyAdds4, , 16, FADE_PLAIN)
#if defined(__x86_64__)
#define FADE_FMA(i) __asm__ volatile("vfmadd213ps %2, %1, %0" : "+v"(sum##i) : "v"(factor), "v"(term));
FADE_MULTIPLY_ADDS(multiplyAdds8, __attribute__((target("avx2,fma"))), 32, FADE_FMA)
FADE_MULTIPLY_ADDS(multiplyAdds16, __attribute__((target("avx512f"))), 64, FADE_FMA)
#endif

// Floating-point operations of one thread's share, as many as the level in use can.
double floatingPoint() {
#if defined(__x86_64__)
  if (fade::level() == fade::Level::kAvx512) return multiplyAdds16();
  if (fade::level() == fade::Level::kAvx2) return multiplyAdds8();
#endif
  return multiplyAdds4();
}

struct Pass {
  std::function<void(size_t)> piece;
  static void call(void* context, size_t index) { static_cast<Pass*>(context)->piece(index); }
  void run(Parallel const& parallel) {
    if (parallel.run == nullptr) return piece(0);
    parallel.run(parallel.pool, &Pass::call, static_cast<size_t>(parallel.threads), this);
  }
};

// ---- the cases ---------------------------------------------------------------------------------------------------

class Tensors {
 public:
  float* make(int64_t count) {
    void* memory = std::aligned_alloc(64, (static_cast<size_t>(count) * 4 + 127) / 64 * 64);
    if (memory == nullptr) std::abort();
    float* const values = static_cast<float*>(memory);
    for (int64_t i = 0; i < count; ++i) values[i] = static_cast<float>(std::rand() % 2001 - 1000) * 1e-3f;
    owned_.emplace_back(values);
    bytes_ += 4.0 * static_cast<double>(count);
    return values;
  }
  double bytes() const { return bytes_; }

 private:
  struct Free {
    void operator()(float* memory) const { std::free(memory); }
  };
  std::vector<std::unique_ptr<float, Free>> owned_;
  double bytes_ = 0;
};

struct Case {
  std::string op, shape;
  std::function<void(Parallel const&, void*)> run;
  std::function<size_t(Parallel const&)> scratch;
  double flops, outputBytes;
  std::shared_ptr<Tensors> tensors;
};

Case upsampleCase(char const* op, int64_t channels, int64_t size, int32_t terms) {
  auto const tensors = std::make_shared<Tensors>();
  bool const blend = std::strcmp(op, "FadeUpsample") == 0, accumulate = std::strcmp(op, "FadeAccumulate") == 0;
  int64_t const low = size * size, plane = 4 * low;
  UpsampleArguments a;
  a.batch = 1, a.channels = channels, a.height = a.width = size, a.terms = terms;
  a.decoder = tensors->make(terms * channels * low);
  a.kernels = tensors->make(terms * 25 * plane);
  a.softmax = blend || accumulate;
  if (blend) {
    a.weightKind = DecoderWeight::kOneMinusSigmoid, a.weight = tensors->make(low);
    a.encoder = tensors->make(channels * plane);
  } else if (accumulate) {
    a.weightKind = DecoderWeight::kGiven, a.weight = tensors->make(terms * low);
    a.base = tensors->make(channels * plane);
    a.baseStrides[0] = channels * plane, a.baseStrides[1] = plane, a.baseStrides[2] = 2 * size, a.baseStrides[3] = 1;
  }
  a.output = tensors->make(channels * plane);
  std::string shape = "C=" + std::to_string(channels) + " " + std::to_string(size) + "^2->" + std::to_string(2 * size) + "^2";
  if (terms > 1) shape += " T=" + std::to_string(terms);
  double const products = static_cast<double>(channels * plane) * (25.0 * terms + (blend ? 1 : 0));
  return {op, shape, [a](Parallel const& p, void* s) { fade::run(a, s, p); },
          [a](Parallel const& p) { return fade::scratchBytes(a, p); }, 2 * products,
          4.0 * static_cast<double>(channels * plane), tensors};
}

Case headCase(int64_t encoder, int64_t hidden, int64_t classes, int64_t size) {
  auto const tensors = std::make_shared<Tensors>();
  int64_t const low = size * size, plane = 4 * low;
  HeadArguments a;
  a.batch = 1, a.height = a.width = size, a.encoderChannels = encoder, a.hiddenChannels = hidden, a.classes = classes;
  for (int t = 0; t < 3; ++t) a.decoder[t] = tensors->make(hidden * low), a.decoderChannels[t] = hidden;
  a.encoderLogits = tensors->make(75 * plane), a.decoderLogits = tensors->make(75 * low);
  a.gateLogits = tensors->make(3 * low), a.encoder = tensors->make(encoder * plane);
  a.encoderWeight = tensors->make(hidden * (4 * encoder + 3)), a.encoderBias = tensors->make(hidden);
  a.classWeight = tensors->make(classes * hidden), a.classBias = tensors->make(classes);
  a.output = tensors->make(classes * plane);
  std::string const shape = "E=" + std::to_string(hidden) + " C=" + std::to_string(encoder) + " M=" +
                            std::to_string(classes) + " " + std::to_string(size) + "^2->" + std::to_string(2 * size) + "^2";
  // As the kernel does it: weights mixed once for four pixels (3 products), then one product a pixel.
  double const products = static_cast<double>(plane * hidden) * (1.75 * static_cast<double>(encoder) + 75 + static_cast<double>(classes));
  return {"FadeHead", shape, [a](Parallel const& p, void* s) { fade::run(a, s, p); },
          [a](Parallel const& p) { return fade::scratchBytes(a, p); }, 2 * products,
          4.0 * static_cast<double>(classes * plane), tensors};
}

struct Times {
  std::vector<double> fma, copy;  // milliseconds
  std::vector<std::vector<double>> cases;
};

}  // namespace

int main(int argc, char** argv) {
  bool json = false;
  int repeats = 15;
  for (int i = 1; i < argc; ++i) {
    std::string const option = argv[i];
    if (option == "--json") {
      json = true;
    } else if (option == "--repeats" && i + 1 < argc) {
      repeats = std::max(1, std::atoi(argv[++i]));
    } else if (option == "--level" && i + 1 < argc) {
      if (!fade::setLevel(static_cast<fade::Level>(std::atoi(argv[++i])))) {
        std::fprintf(stderr, "fade_kernel_bench: this processor or build has no level %s\n", argv[i]);
        return 2;
      }
    } else {
      std::fprintf(stderr, "fade_kernel_bench: unknown option '%s'; it takes --json, --repeats N, --level 0|1|2\n", argv[i]);
      return 2;
    }
  }
  std::vector<Case> cases;
  cases.push_back(upsampleCase("FadeUpsample", 386, 16, 1));
  cases.push_back(upsampleCase("FadeUpsample", 321, 32, 1));
  cases.push_back(upsampleCase("FadeUpsample", 256, 32, 1));
  cases.push_back(upsampleCase("FadeUpsample", 256, 64, 1));
  cases.push_back(upsampleCase("FadeReassemble", 256, 64, 1));
  cases.push_back(upsampleCase("FadeAccumulate", 256, 64, 3));
  cases.push_back(upsampleCase("FadeUpsample", 64, 256, 1));
  cases.push_back(headCase(64, 256, 150, 64));
  cases.push_back(headCase(64, 256, 19, 64));
  cases.push_back(headCase(64, 768, 150, 64));

  constexpr int64_t kCopied = 16 << 20;  // floats, so 64 MiB: beyond the caches
  Tensors copied;
  float* const from = copied.make(kCopied);
  float* const to = copied.make(kCopied);
  std::string records;
  if (!json) std::printf("threads  %-15s %-34s %9s %9s %9s\n", "operator", "shape", "ms", "roofline", "scratch");
  for (int threads : {1, 2}) {
    Pool pool(threads);
    Parallel const parallel = pool.parallel();
    std::atomic<double> flops{0};
    Pass fma{[&](size_t) { flops = floatingPoint(); }};
    Pass copy{[&](size_t part) {
      size_t const share = kCopied / static_cast<size_t>(threads);
      std::memcpy(to + part * share, from + part * share, share * 4);
    }};
    Times times;
    times.cases.resize(cases.size());
    std::vector<std::vector<char>> scratch;
    for (Case const& c : cases) scratch.emplace_back(c.scratch(parallel));
    for (int round = -1; round < repeats; ++round) {  // round -1 warms up
      auto const timed = [&](std::vector<double>& where, auto const& body) {
        double const start = now();
        body();
        if (round >= 0) where.push_back(now() - start);
      };
      timed(times.fma, [&] { fma.run(parallel); });
      timed(times.copy, [&] { copy.run(parallel); });
      for (size_t i = 0; i < cases.size(); ++i) {
        cases[i].run(parallel, scratch[i].data());  // its own tensors into the caches, as far as they fit
        timed(times.cases[i], [&] { cases[i].run(parallel, scratch[i].data()); });
      }
    }
    // The roof is the best the machine showed, so that a busy machine makes the kernels look worse, never better.
    double const fmaRate = flops * threads / *std::min_element(times.fma.begin(), times.fma.end());
    double const copyRate = 2.0 * 4 * kCopied / *std::min_element(times.copy.begin(), times.copy.end());
    for (size_t i = 0; i < cases.size(); ++i) {
      Case const& c = cases[i];
      double const ms = median(times.cases[i]), least = *std::min_element(times.cases[i].begin(), times.cases[i].end());
      double const roof = std::max(c.flops / fmaRate, c.tensors->bytes() / copyRate);
      double const share = static_cast<double>(scratch[i].size()) / c.outputBytes;
      if (json) {
        char record[512];
        std::snprintf(record, sizeof(record),
                      "%s\n    {\"op\": \"%s\", \"shape\": \"%s\", \"threads\": %d, \"ms\": %.4f, \"ms_min\": %.4f, "
                      "\"roofline_ms\": %.4f, \"roofline_fraction\": %.4f, \"scratch_of_output\": %.4f}",
                      records.empty() ? "" : ",", c.op.c_str(), c.shape.c_str(), threads, ms, least, roof, roof / ms, share);
        records += record;
      } else {
        std::printf("%7d  %-15s %-34s %9.3f %8.1f%% %8.1f%%\n", threads, c.op.c_str(), c.shape.c_str(), ms,
                    100 * roof / ms, 100 * share);
      }
    }
    char machine[256];
    if (json) {
      std::snprintf(machine, sizeof(machine),
                    ",\n    {\"op\": \"machine\", \"shape\": \"\", \"threads\": %d, \"fma_gflops\": %.2f, \"copy_gbps\": %.2f}",
                    threads, fmaRate * 1e-6, copyRate * 1e-6);
      records += machine;
    } else {
      std::printf("%7d  machine: %.1f GFLOP/s of multiply-adds, %.1f GB/s copied (read + written)\n", threads,
                  fmaRate * 1e-6, copyRate * 1e-6);
    }
  }
  if (json) std::printf("{\n  \"level\": %d,\n  \"records\": [%s\n  ]\n}\n", static_cast<int>(fade::level()), records.c_str());
  return 0;
}
