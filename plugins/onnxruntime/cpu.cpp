// libfade_onnxruntime: the operators on ONNX Runtime's CPU provider.
#include <memory>
#include <new>
#include <string>
#include <thread>

#if defined(__linux__)
#include <sched.h>
#include <unistd.h>
#endif

#include "custom_op.h"
#include "fade_cpu.h"

namespace fade {
namespace {

// Scratch memory of one run, from ONNX Runtime's arena.
class Scratch {
 public:
  Scratch(Call const& call, size_t bytes) : allocator_(nullptr, call.api.ReleaseAllocator) {
    if (bytes == 0) return;
    ort::Allocator* raw = nullptr;
    check(call.api, call.api.KernelContext_GetAllocator(call.context, call.memory, &raw));
    allocator_.reset(raw);
    memory_ = raw->Alloc(raw, bytes);  // the arena throws where memory ends, others give null
    if (memory_ == nullptr) throw std::bad_alloc();
  }
  ~Scratch() {
    if (memory_ != nullptr) allocator_->Free(allocator_.get(), memory_);
  }
  Scratch(Scratch const&) = delete;
  Scratch& operator=(Scratch const&) = delete;

  void* data() const { return memory_; }

 private:
  std::unique_ptr<ort::Allocator, void (*)(ort::Allocator*)> allocator_;
  void* memory_ = nullptr;
};

// The processors that this process may run on: where Linux says so, those that its main thread is
// bound to (ONNX Runtime binds threads of its own to one each), else all of the machine. A
// container's quota of processor time is not seen.
int32_t processors() {
#if defined(__linux__)
  cpu_set_t bound;
  if (sched_getaffinity(getpid(), sizeof(bound), &bound) == 0) return CPU_COUNT(&bound);
#endif
  return static_cast<int32_t>(std::thread::hardware_concurrency());
}

// ONNX Runtime does not tell how many threads it has. More than there are processors would not
// help; scratch memory for those it lacks is reserved and never touched.
int32_t mostThreads() {
  static int32_t const threads = processors();
  return threads;
}

// ONNX Runtime's own threads.
struct Pool {
  ort::Api const& api;
  OrtKernelContext const* context;
  OrtStatus* status = nullptr;  // of the first ParallelFor that failed
};

void runOnPool(void* pool, void (*piece)(void*, size_t), size_t pieces, void* context) {
  Pool& own = *static_cast<Pool*>(pool);
  if (own.status != nullptr) return;
  own.status =
      own.api.KernelContext_ParallelFor(own.context, piece, pieces, /* batches = */ 0, context);
}

template <typename Arguments>
void runOn(Call const& call, Arguments const& arguments) {
  Pool pool{call.api, call.context};
  Parallel const parallel{runOnPool, &pool, mostThreads()};
  Scratch const scratch(call, scratchBytes(arguments, parallel));
  run(arguments, scratch.data(), parallel);
  check(call.api, pool.status);
}

HeadArguments headArguments(Call const& call) {
  enum {
    kFirst,
    kEncoderLogits = 3,
    kDecoderLogits,
    kGateLogits,
    kEncoder,
    kEncoderWeight,
    kEncoderBias,
    kClassWeight,
    kClassBias
  };
  HeadArguments arguments;
  arguments.type =
      call.elementType == ort::ElementType::kFloat16 ? DataType::kFloat16 : DataType::kFloat32;
  arguments.batch = call.outputShape[0];
  arguments.height = call.shapes[kFirst][2];
  arguments.width = call.shapes[kFirst][3];
  arguments.encoderChannels = call.shapes[kEncoder][1];
  arguments.hiddenChannels = call.shapes[kEncoderBias][0];
  arguments.classes = call.outputShape[1];
  arguments.kernelSize = call.type.attributes.kernelSize;
  arguments.scale = call.type.attributes.scale;
  for (size_t term = 0; term < 3; ++term) {
    arguments.decoder[term] = call.inputs[kFirst + term];
    arguments.decoderChannels[term] = call.shapes[kFirst + term][1];
  }
  arguments.encoderLogits = call.inputs[kEncoderLogits];
  arguments.decoderLogits = call.inputs[kDecoderLogits];
  arguments.gateLogits = call.inputs[kGateLogits];
  arguments.encoder = call.inputs[kEncoder];
  arguments.encoderWeight = call.inputs[kEncoderWeight];
  arguments.encoderBias = call.inputs[kEncoderBias];
  arguments.classWeight = call.inputs[kClassWeight];
  arguments.classBias = call.inputs[kClassBias];
  arguments.output = call.output;
  return arguments;
}

bool computesAll(OperatorKind) { return true; }

Provider const kCpu = {
    "CPUExecutionProvider",
    computesAll,
    [](Call const& call) {
      if (call.type.kind == OperatorKind::kHead) {
        runOn(call, headArguments(call));
      } else {
        runOn(call, upsampleArguments(call));
      }
    },
};

}  // namespace
}  // namespace fade

#define FADE_EXPORT extern "C" __attribute__((visibility("default")))

// ONNX Runtime's register_custom_ops_library calls this.
FADE_EXPORT OrtStatus* RegisterCustomOps(OrtSessionOptions* options,
                                         fade::ort::ApiBase const* base) {
  return fade::registerNodeTypes(options, base, fade::kCpu);
}

// Version of the operators.
FADE_EXPORT int32_t fade_onnxruntime_version() { return fade::kVersion; }

// The operators, one to a line: "FadeX input:[N,C,H,W] ... -> [N,C,sH,sW] kernel_size=5 ...".
FADE_EXPORT char const* fade_onnxruntime_operators() {
  static std::string const text = fade::contractText(fade::kCpu.computes);
  return text.c_str();
}
