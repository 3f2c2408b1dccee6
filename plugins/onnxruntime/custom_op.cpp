#include "custom_op.h"

#include <exception>
#include <limits>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <optional>

namespace fade {
namespace {

// Nothing may leave a callback but a status: on the other side of it is C.
template <typename F>
OrtStatus* guarded(ort::Api const& api, F&& body) noexcept {
  try {
    body();
    return nullptr;
  } catch (InvalidNode const& error) {
    return api.CreateStatus(ort::ErrorCode::kInvalidArgument, error.what());
  } catch (std::bad_alloc const&) {
    return api.CreateStatus(ort::ErrorCode::kFail, "Failed to allocate memory for a fade operator");
  } catch (std::exception const& error) {
    return api.CreateStatus(ort::ErrorCode::kFail, error.what());
  } catch (...) {
    return api.CreateStatus(ort::ErrorCode::kFail, "a fade operator failed");
  }
}

using TensorInfo = std::unique_ptr<OrtTensorTypeAndShapeInfo, void (*)(OrtTensorTypeAndShapeInfo*)>;

Shape shapeOf(ort::Api const& api, OrtTensorTypeAndShapeInfo const* info) {
  size_t rank = 0;
  check(api, api.GetDimensionsCount(info, &rank));
  Shape shape(rank);
  check(api, api.GetDimensions(info, shape.data(), rank));
  return shape;
}

struct Operator : ort::CustomOp {
  NodeType type;
  ort::ElementType elementType;
  Provider const* provider;
  ort::Api const* api;
};

Operator const& operatorOf(ort::CustomOp const* op) { return *static_cast<Operator const*>(op); }

struct Kernel {
  Operator const& op;
  std::unique_ptr<OrtMemoryInfo, void (*)(OrtMemoryInfo*)> memory;
};

// In quotation marks, on one line whatever it holds: bytes that don't print are written \xNN.
std::string quoted(std::string_view text) {
  std::string printed = "'";
  for (char const letter : text) {
    auto const byte = static_cast<unsigned char>(letter);
    constexpr char kDigits[] = "0123456789abcdef";
    if (byte >= ' ' && byte <= '~' && byte != '\\' && byte != '\'') {
      printed += letter;
    } else {
      printed += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
    }
  }
  return printed + "'";
}

// plugin_version, as it can be printed: TensorRT's attribute, and the only place where a file says
// which version of the operator it means.
std::optional<std::string> versionStated(ort::Api const& api, OrtKernelInfo const* info) {
  char version[16] = {};
  size_t bytes = sizeof(version);  // then those of the attribute with its end, even if it is longer
  OrtStatus* const status =
      api.KernelInfoGetAttribute_string(info, "plugin_version", version, &bytes);
  api.ReleaseStatus(status);
  if (status == nullptr) return quoted({version, bytes - 1});
  if (bytes > sizeof(version)) return "a text of " + std::to_string(bytes - 1) + " bytes";
  return std::nullopt;
}

void checkAttributes(Operator const& op, OrtKernelInfo const* info) {
  for (std::string_view const name : op.type.attributeNames) {
    std::string const key(name);
    int64_t const expected = attributeValue(op.type.attributes, name);
    int64_t given = 0;
    OrtStatus* const status = op.api->KernelInfoGetAttribute_int64(info, key.c_str(), &given);
    if (status == nullptr && given == expected) continue;
    op.api->ReleaseStatus(status);
    throw InvalidNode(op.type.name + ": attribute " + key + " is " +
                      (status == nullptr ? std::to_string(given) : "missing or no integer") +
                      ", expected " + std::to_string(expected) +
                      ", which the name of the node means");
  }
  std::optional<std::string> const version = versionStated(*op.api, info);
  if (version && *version != quoted(std::to_string(kVersion))) {
    throw InvalidNode(op.type.name + ": attribute plugin_version is " + *version + ", expected " +
                      quoted(std::to_string(kVersion)) +
                      ": this library is of another version than the file");
  }
}

void compute(Kernel const& kernel, OrtKernelContext* context) {
  ort::Api const& api = *kernel.op.api;
  NodeType const& type = kernel.op.type;
  std::vector<Shape> shapes;
  std::vector<void const*> inputs;
  for (size_t i = 0; i < type.inputs.size(); ++i) {
    OrtValue const* value = nullptr;
    check(api, api.KernelContext_GetInput(context, i, &value));
    OrtTensorTypeAndShapeInfo* raw = nullptr;
    check(api, api.GetTensorTypeAndShape(value, &raw));
    TensorInfo const info(raw, api.ReleaseTensorTypeAndShapeInfo);
    ort::ElementType elementType{};
    check(api, api.GetTensorElementType(info.get(), &elementType));
    if (elementType != kernel.op.elementType) {
      throw InvalidNode(type.name + ": " + type.inputs[i].name +
                        " has another dtype than the kernel");
    }
    shapes.push_back(shapeOf(api, info.get()));
    void* data = nullptr;
    // There is no function for a constant one.
    check(api, api.GetTensorMutableData(const_cast<OrtValue*>(value), &data));
    inputs.push_back(data);
  }
  std::array<int64_t, 4> const shape = outputShape(type, shapes);
  OrtValue* output = nullptr;
  check(api, api.KernelContext_GetOutput(context, 0, shape.data(), shape.size(), &output));
  for (int64_t const size : shape) {
    if (size == 0) return;
  }
  void* data = nullptr;
  check(api, api.GetTensorMutableData(output, &data));
  kernel.op.provider->compute({type, kernel.op.elementType, shapes, inputs, shape, data, api,
                               context, kernel.memory.get()});
}

// The output's shape while a model is loaded. A dimension that is dynamic takes the name that an
// input has for it: one without a name would count as equal to any other, and runtimes have planned
// memory by that.
void inferShape(Operator const& op, OrtShapeInferContext* context) {
  ort::Api const& api = *op.api;
  NodeType const& type = op.type;
  // Node types of one name are one schema to ONNX Runtime, which calls the first one's callback for
  // both dtypes.
  ort::ElementType elementType{};
  std::vector<Shape> shapes;
  std::map<std::string, std::string> names;  // of dynamic dimensions, by the contract's text
  for (size_t i = 0; i < type.inputs.size(); ++i) {
    OrtTensorTypeAndShapeInfo* info = nullptr;  // the context keeps it
    check(api, api.ShapeInferContext_GetInputTypeShape(context, i, &info));
    if (i == 0) check(api, api.GetTensorElementType(info, &elementType));
    shapes.push_back(shapeOf(api, info));
    Shape& shape = shapes.back();
    std::vector<Dimension> const& expected = type.inputs[i].dimensions;
    std::vector<char const*> symbols(shape.size(), "");
    check(api, api.GetSymbolicDimensions(info, symbols.data(), symbols.size()));
    if (shape.empty()) {  // how a shape that isn't known arrives here
      shape.assign(expected.size(), kUnknown);
      continue;
    }
    for (size_t axis = 0; axis < shape.size() && axis < expected.size(); ++axis) {
      if (shape[axis] < 0) shape[axis] = kUnknown;
      if (shape[axis] == kUnknown && symbols[axis] != nullptr && *symbols[axis] != '\0') {
        names.emplace(expected[axis].text, symbols[axis]);
      }
    }
  }
  std::array<int64_t, 4> const shape = outputShape(type, shapes);
  std::array<char const*, 4> symbols{};
  for (size_t axis = 0; axis < shape.size(); ++axis) {
    symbols[axis] = "";
    if (shape[axis] != kUnknown) continue;
    auto const name = names.find(type.output[axis].text);
    if (name == names.end()) return;  // then nothing is said of the shape at all
    symbols[axis] = name->second.c_str();
  }
  OrtTensorTypeAndShapeInfo* raw = nullptr;
  check(api, api.CreateTensorTypeAndShapeInfo(&raw));
  TensorInfo const info(raw, api.ReleaseTensorTypeAndShapeInfo);
  check(api, api.SetTensorElementType(info.get(), elementType));
  check(api, api.SetDimensions(info.get(), shape.data(), shape.size()));
  check(api, api.SetSymbolicDimensions(info.get(), symbols.data(), symbols.size()));
  check(api, api.ShapeInferContext_SetOutputTypeShape(context, 0, info.get()));
}

std::unique_ptr<Operator> makeOperator(NodeType const& type, ort::ElementType elementType,
                                       Provider const& provider, ort::Api const& api) {
  auto made = std::make_unique<Operator>();
  made->type = type;
  made->elementType = elementType;
  made->provider = &provider;
  made->api = &api;
  made->version = ort::kApiVersion;
  made->GetName = [](ort::CustomOp const* self) { return operatorOf(self).type.name.c_str(); };
  made->GetExecutionProviderType = [](ort::CustomOp const* self) {
    return operatorOf(self).provider->name;
  };
  made->GetInputType = [](ort::CustomOp const* self, size_t) {
    return operatorOf(self).elementType;
  };
  made->GetInputTypeCount = [](ort::CustomOp const* self) {
    return operatorOf(self).type.inputs.size();
  };
  made->GetOutputType = [](ort::CustomOp const* self, size_t) {
    return operatorOf(self).elementType;
  };
  made->GetOutputTypeCount = [](ort::CustomOp const*) -> size_t { return 1; };
  made->GetInputCharacteristic = [](ort::CustomOp const*, size_t) {
    return ort::Characteristic::kRequired;
  };
  made->GetOutputCharacteristic = [](ort::CustomOp const*, size_t) {
    return ort::Characteristic::kRequired;
  };
  made->GetInputMemoryType = [](ort::CustomOp const*, size_t) { return ort::MemoryType::kDefault; };
  made->GetStartVersion = [](ort::CustomOp const*) -> int { return kVersion; };
  made->GetEndVersion = [](ort::CustomOp const*) { return std::numeric_limits<int>::max(); };
  made->CreateKernelV2 = [](ort::CustomOp const* self, ort::Api const*, OrtKernelInfo const* info,
                            void** kernel) {
    Operator const& op = operatorOf(self);
    return guarded(*op.api, [&] {
      checkAttributes(op, info);
      OrtMemoryInfo* memory = nullptr;
      check(*op.api, op.api->CreateCpuMemoryInfo(ort::AllocatorType::kArena,
                                                 ort::MemoryType::kDefault, &memory));
      *kernel = new Kernel{op, {memory, op.api->ReleaseMemoryInfo}};
    });
  };
  made->KernelComputeV2 = [](void* self, OrtKernelContext* context) {
    Kernel const& kernel = *static_cast<Kernel const*>(self);
    return guarded(*kernel.op.api, [&] { compute(kernel, context); });
  };
  made->KernelDestroy = [](void* self) { delete static_cast<Kernel*>(self); };
  made->InferOutputShapeFn = [](ort::CustomOp const* self, OrtShapeInferContext* context) {
    Operator const& op = operatorOf(self);
    return guarded(*op.api, [&] { inferShape(op, context); });
  };
  return made;
}

// All node types of a provider for one runtime; two runtimes in a process have a table each.
struct Domain {
  std::vector<std::unique_ptr<Operator>> operators;
  OrtCustomOpDomain* domain = nullptr;
};

std::unique_ptr<Domain> makeDomain(ort::Api const& api, Provider const& provider) {
  auto made = std::make_unique<Domain>();
  check(api, api.CreateCustomOpDomain(kDomain, &made->domain));
  for (NodeType const& type : allNodeTypes()) {
    if (!provider.computes(type.kind)) continue;
    for (ort::ElementType const elementType :
         {ort::ElementType::kFloat32, ort::ElementType::kFloat16}) {
      made->operators.push_back(makeOperator(type, elementType, provider, api));
      check(api, api.CustomOpDomain_Add(made->domain, made->operators.back().get()));
    }
  }
  return made;
}

// Sessions keep pointers into a domain and may be the last thing that ends in a process, so it
// stays for good: the library is linked with -z nodelete, and there is one domain for all sessions.
OrtCustomOpDomain* domainFor(ort::Api const& api, Provider const& provider) {
  static std::mutex mutex;
  static auto* const domains = new std::map<ort::Api const*, std::unique_ptr<Domain>>;
  std::lock_guard<std::mutex> const lock(mutex);
  std::unique_ptr<Domain>& domain = (*domains)[&api];
  if (domain == nullptr) domain = makeDomain(api, provider);
  return domain->domain;
}

}  // namespace

UpsampleArguments upsampleArguments(Call const& call) {
  DataType const type =
      call.elementType == ort::ElementType::kFloat16 ? DataType::kFloat16 : DataType::kFloat32;
  return upsampleArguments(call.type, type, call.shapes, call.inputs.data(), call.outputShape,
                           call.output);
}

void check(ort::Api const& api, OrtStatus* status) {
  if (status == nullptr) return;
  std::string const message = api.GetErrorMessage(status);
  api.ReleaseStatus(status);
  throw std::runtime_error(message);
}

OrtStatus* registerNodeTypes(OrtSessionOptions* options, ort::ApiBase const* base,
                             Provider const& provider) noexcept {
  // Called with a runtime older than the level, GetApi gives null and says so on stderr; without a
  // table there is no way to make a status, so the level that every runtime has makes it.
  ort::Api const* const api = base->GetApi(ort::kApiVersion);
  if (api == nullptr) {
    ort::Api const* const oldest = base->GetApi(1);
    return oldest->CreateStatus(ort::ErrorCode::kFail,
                                "fade: onnxruntime is older than 1.18, expected 1.20 or newer");
  }
  return guarded(*api,
                 [&] { check(*api, api->AddCustomOpDomain(options, domainFor(*api, provider))); });
}

}  // namespace fade
