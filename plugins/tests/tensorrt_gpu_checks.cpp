// enqueue(), against loops in double: on a GPU with --gpu. Without one, that the loops and the plugin's way to the
// kernels' arguments agree.
#include <cuda_runtime_api.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "operator_cases.h"
#include "tensorrt_library.h"
#include "upsample_arguments.h"

namespace fade::tests {
namespace {

using nvinfer1::PluginTensorDesc;
using Bytes = std::vector<unsigned char>;

struct Storage {
  nvinfer1::DataType type;
  char const* name;
  size_t bytes;
  double rounding;  // of one stored value, relative
};
constexpr Storage kStorages[] = {{nvinfer1::DataType::kFLOAT, "float32", 4, 0},
                                 {nvinfer1::DataType::kHALF, "float16", 2, 0x1.0p-11},
                                 {nvinfer1::DataType::kBF16, "bfloat16", 2, 0x1.0p-8}};
// Of float32 sums and exponentials, relative to the sum of the magnitudes of an output's terms: as kernel_test.cpp
// allows it for logits of this spread, and the GPU's exponential besides.
constexpr double kArithmetic = 1e-5;
// Beyond every tensor, to be found as it was.
constexpr size_t kGuard = 256;
constexpr unsigned char kGuardByte = 0xa5, kPoison = 0xff;  // NaN in every type

uint16_t bfloatFromFloat(float value) {  // finite; to nearest even
  uint32_t bits = 0;
  std::memcpy(&bits, &value, 4);
  return static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

float floatFromBfloat(uint16_t bits) {
  uint32_t const wide = static_cast<uint32_t>(bits) << 16;
  float value = 0;
  std::memcpy(&value, &wide, 4);
  return value;
}

double load(unsigned char const* data, Storage const& storage) {
  float value = 0;
  uint16_t bits = 0;
  if (storage.bytes == 4) {
    std::memcpy(&value, data, 4);
    return value;
  }
  std::memcpy(&bits, data, 2);
  return storage.type == nvinfer1::DataType::kHALF ? floatFromHalf(bits) : floatFromBfloat(bits);
}

// As `storage` has them; `values` become what is stored.
Bytes stored(Values& values, Storage const& storage) {
  Bytes bytes(values.size() * storage.bytes);
  for (size_t i = 0; i < values.size(); ++i) {
    float const value = static_cast<float>(values[i]);
    unsigned char* const to = bytes.data() + i * storage.bytes;
    uint16_t const narrow = storage.type == nvinfer1::DataType::kHALF ? halfFromFloat(value) : bfloatFromFloat(value);
    if (storage.bytes == 4) {
      std::memcpy(to, &value, 4);
    } else {
      std::memcpy(to, &narrow, 2);
    }
    values[i] = load(to, storage);
  }
  return bytes;
}

// Memory of the GPU between two guards. Every call is asked for its status by good().
class DeviceBuffer {
 public:
  explicit DeviceBuffer(size_t bytes) : bytes_(bytes) {
    good(cudaMalloc(&memory_, bytes_ + 2 * kGuard));
    good(cudaMemset(memory_, kGuardByte, bytes_ + 2 * kGuard));
    good(cudaMemset(data(), kPoison, bytes_));
  }
  explicit DeviceBuffer(Bytes const& content) : DeviceBuffer(content.size()) {
    good(cudaMemcpy(data(), content.data(), bytes_, cudaMemcpyHostToDevice));
  }
  DeviceBuffer(DeviceBuffer&& other) noexcept : memory_(other.memory_), bytes_(other.bytes_), status_(other.status_) {
    other.memory_ = nullptr;
  }
  DeviceBuffer(DeviceBuffer const&) = delete;
  DeviceBuffer& operator=(DeviceBuffer const&) = delete;
  ~DeviceBuffer() { cudaFree(memory_); }

  unsigned char* data() const { return static_cast<unsigned char*>(memory_) + kGuard; }
  cudaError_t status() const { return status_; }
  void poison() { good(cudaMemset(data(), kPoison, bytes_)); }

  // The content, or nothing where a guard was written to or CUDA has failed.
  Bytes read() {
    Bytes all(bytes_ + 2 * kGuard);
    good(cudaMemcpy(all.data(), memory_, all.size(), cudaMemcpyDeviceToHost));
    Bytes const guard(kGuard, kGuardByte);
    bool const intact = std::equal(guard.begin(), guard.end(), all.begin()) &&
                        std::equal(guard.begin(), guard.end(), all.end() - kGuard);
    if (status_ != cudaSuccess || !intact) return {};
    return Bytes(all.begin() + kGuard, all.end() - kGuard);
  }

 private:
  void good(cudaError_t status) {
    if (status_ == cudaSuccess) status_ = status;
  }
  void* memory_ = nullptr;
  size_t bytes_;
  cudaError_t status_ = cudaSuccess;
};

// What is wrong with the output; empty where nothing is.
std::string faultOf(Bytes const& output, Expected const& want, Storage const& storage) {
  if (output.size() != want.value.size() * storage.bytes)
    return "the guards of the output were written to, or CUDA failed";
  for (size_t i = 0; i < want.value.size(); ++i) {
    double const given = load(output.data() + i * storage.bytes, storage), value = want.value[i];
    // The output is rounded to its storage; on tensor cores the weights of a sum are, too.
    double const room =
        (kArithmetic + storage.rounding) * want.magnitude[i] + storage.rounding * std::fabs(value) + 1e-7;
    if (std::fabs(given - value) <= room) continue;
    return "output " + std::to_string(i) + " is " + std::to_string(given) + ", expected " + std::to_string(value);
  }
  return {};
}

// One case: enqueue, and the same captured in a graph and launched twice.
std::string runCase(Library const& library, OperatorCase const& c, Storage const& storage, std::mt19937& random,
                    cudaStream_t stream) {
  NodeType const& type = nodeType(c.name);
  PluginPointer const plugin(library.plugin(type));
  PluginPointer const attached(running(plugin).attachToContext(nullptr));
  std::vector<Tensor> tensors = inputsOf(c, random);
  std::vector<DeviceBuffer> buffers;
  std::vector<PluginTensorDesc> described;
  std::vector<void const*> pointers;
  std::vector<Shape> shapes;
  for (Tensor& tensor_ : tensors) {
    buffers.emplace_back(stored(tensor_.values, storage));
    described.push_back(tensor(tensor_.shape, storage.type));
    pointers.push_back(buffers.back().data());
    shapes.push_back(tensor_.shape);
  }
  std::array<int64_t, 4> const shape = outputShape(type, shapes);
  Expected const want = expected(type, tensors);
  DeviceBuffer output(want.value.size() * storage.bytes);
  PluginTensorDesc const result = tensor(Shape(shape.begin(), shape.end()), storage.type);
  void* const outputs[] = {output.data()};
  nvinfer1::IPluginV3OneRuntime& plugged = running(attached);
  auto const enqueue = [&] {
    return plugged.enqueue(described.data(), &result, pointers.data(), outputs, nullptr, stream);
  };
  if (plugged.onShapeChange(described.data(), static_cast<int32_t>(described.size()), &result, 1) != 0)
    return "onShapeChange fails";
  if (enqueue() != 0) return "enqueue fails";
  if (cudaError_t const status = cudaStreamSynchronize(stream)) return cudaGetErrorString(status);
  std::string fault = faultOf(output.read(), want, storage);
  if (!fault.empty()) return fault;

  output.poison();
  cudaGraph_t graph = nullptr;
  cudaGraphExec_t executable = nullptr;
  bool captured = cudaStreamBeginCapture(stream, cudaStreamCaptureModeThreadLocal) == cudaSuccess;
  captured = enqueue() == 0 && captured;
  captured = cudaStreamEndCapture(stream, &graph) == cudaSuccess && captured;
  captured = captured && cudaGraphInstantiate(&executable, graph, 0) == cudaSuccess;
  for (int launch = 0; captured && launch < 2; ++launch) captured = cudaGraphLaunch(executable, stream) == cudaSuccess;
  captured = captured && cudaStreamSynchronize(stream) == cudaSuccess;
  if (executable != nullptr) cudaGraphExecDestroy(executable);
  if (graph != nullptr) cudaGraphDestroy(graph);
  if (!captured) return "it can't be captured in a CUDA graph";
  fault = faultOf(output.read(), want, storage);
  if (!fault.empty()) return "from a CUDA graph: " + fault;
  for (size_t i = 0; i < buffers.size(); ++i) {
    if (buffers[i].read() != stored(tensors[i].values, storage))
      return "input " + std::to_string(i) + " was written to";
  }
  return {};
}

}  // namespace

void checkReference(Account& account) {
  std::mt19937 random(1);
  for (OperatorCase const& c : operatorCases()) {
    NodeType const& type = nodeType(c.name);
    std::vector<Tensor> const inputs = inputsOf(c, random);
    std::vector<void const*> pointers;
    std::vector<Shape> shapes;
    for (Tensor const& input : inputs) {
      pointers.push_back(input.values.data());
      shapes.push_back(input.shape);
    }
    UpsampleArguments const arguments =
        upsampleArguments(type, DataType::kFloat32, shapes, pointers.data(), outputShape(type, shapes), nullptr);
    auto const valuesAt = [&](void const* pointer) {
      for (Tensor const& input : inputs) {
        if (input.values.data() == pointer) return input.values;
      }
      return Values{};
    };
    Expected const by = expected(
        arguments, {valuesAt(arguments.decoder), valuesAt(arguments.kernels), valuesAt(arguments.decoderLogits),
                    valuesAt(arguments.weight), valuesAt(arguments.encoder), valuesAt(arguments.base)});
    Expected const want = expected(type, inputs);
    bool same = by.value.size() == want.value.size();
    for (size_t i = 0; same && i < want.value.size(); ++i) {
      same = std::fabs(by.value[i] - want.value[i]) <= 1e-12 * (want.magnitude[i] + 1);
    }
    account.check(same, text(c) + ": the kernels' arguments mean the contract's formula");
  }
}

void checkOnGpu(Library const& library, Account& account) {
  cudaStream_t stream = nullptr;
  cudaError_t const status = cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking);
  account.check(status == cudaSuccess, std::string("a stream of the GPU: ") + cudaGetErrorString(status));
  if (status != cudaSuccess) return;
  std::mt19937 random(2);
  for (OperatorCase const& c : operatorCases()) {
    for (Storage const& storage : kStorages) {
      std::string const fault = runCase(library, c, storage, random, stream);
      account.check(fault.empty(),
                    "on the GPU, " + text(c) + ", " + storage.name + (fault.empty() ? "" : ": " + fault));
    }
  }
  cudaStreamDestroy(stream);
}

}  // namespace fade::tests
