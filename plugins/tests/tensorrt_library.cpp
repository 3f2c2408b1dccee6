#include "tensorrt_library.h"

#include <dlfcn.h>

#include <cstdio>
#include <cstdlib>

namespace fade::tests {
namespace {

[[noreturn]] void end(std::string const& why) {
  std::printf("FAIL %s\n", why.c_str());
  std::exit(1);
}

template <typename Function>
void bind(void* library, char const* name, Function& to) {
  to = reinterpret_cast<Function>(dlsym(library, name));
  if (to == nullptr) end(std::string("the library exports no ") + name);
}

}  // namespace

Library::Library(char const* path) {
  void* const library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) end(std::string("the library does not load: ") + dlerror());
  bind(library, "getCreators", getCreators);
  bind(library, "setLoggerFinder", setLoggerFinder);
  bind(library, "fade_tensorrt_version", version);
  bind(library, "fade_tensorrt_headers", headers);
  bind(library, "fade_tensorrt_operators", operators);
  int32_t count = 0;
  nvinfer1::IPluginCreatorInterface* const* const given = getCreators(count);
  for (int32_t i = 0; i < count; ++i) {
    creators_.push_back(static_cast<nvinfer1::IPluginCreatorV3One*>(given[i]));
  }
}

nvinfer1::IPluginCreatorV3One& Library::creator(std::string const& name) const {
  for (nvinfer1::IPluginCreatorV3One* const creator : creators_) {
    if (name == creator->getPluginName()) return *creator;
  }
  end("the library has no " + name);
}

PluginPointer Library::plugin(NodeType const& type) const {
  std::array<int32_t, 3> values{};
  Fields const fields = fieldsOf(type, values);
  nvinfer1::PluginFieldCollection const collection{static_cast<int32_t>(fields.size()), fields.data()};
  PluginPointer made(creator(type.name).createPlugin("layer", &collection, nvinfer1::TensorRTPhase::kBUILD));
  if (made == nullptr) end("the library makes no " + type.name);
  return made;
}

void Account::print(bool right, std::string const& claim, std::string const& told) {
  ++checks_;
  failures_ += right ? 0 : 1;
  std::printf("%s %s%s%s\n", right ? "ok  " : "FAIL", claim.c_str(), told.empty() ? "" : ": ", told.c_str());
  logger_.lines.clear();
}

void Account::check(bool right, std::string const& claim) {
  print(right && logger_.lines.empty(), claim, logger_.lines.empty() ? "" : logger_.lines.front());
}

void Account::refused(bool isRefused, std::string const& claim, std::string const& told) {
  bool const one = logger_.lines.size() == 1;
  std::string const line = one ? logger_.lines.front() : std::to_string(logger_.lines.size()) + " lines were logged";
  bool const says = one && line.find(told) != std::string::npos && line.find('\n') == std::string::npos;
  print(isRefused && says, claim, line + (says ? "" : " (expected: " + told + ")"));
}

NodeType const& nodeType(std::string const& name) {
  static std::vector<NodeType> const all = allNodeTypes();
  for (NodeType const& type : all) {
    if (type.name == name) return type;
  }
  end("the contract has no " + name);
}

Fields fieldsOf(NodeType const& type, std::array<int32_t, 3>& values) {
  Fields fields;
  for (size_t i = 0; i < type.attributeNames.size(); ++i) {
    values[i] = static_cast<int32_t>(attributeValue(type.attributes, type.attributeNames[i]));
    fields.emplace_back(type.attributeNames[i].data(), &values[i], nvinfer1::PluginFieldType::kINT32, 1);
  }
  return fields;
}

std::vector<Shape> shapesOf(NodeType const& type, std::array<int64_t, 4> const& sizes, bool wholeBase) {
  std::vector<Shape> shapes;
  for (Input const& input : type.inputs) {
    shapes.emplace_back();
    for (Dimension const& dimension : input.dimensions) {
      size_t const symbol = dimension.symbol == '\0' ? 4 : std::string("NCHW").find(dimension.symbol);
      int64_t const size = dimension.factor * (symbol == 4 ? 1 : sizes[symbol]);
      shapes.back().push_back(dimension.orOne && !wholeBase ? 1 : size);
    }
  }
  return shapes;
}

nvinfer1::Dims dimsOf(Shape const& shape) {
  nvinfer1::Dims dims{static_cast<int32_t>(shape.size()), {}};
  std::copy(shape.begin(), shape.end(), dims.d);
  return dims;
}

nvinfer1::PluginTensorDesc tensor(Shape const& shape, nvinfer1::DataType type) {
  return {dimsOf(shape), type, nvinfer1::TensorFormat::kLINEAR, 1.F};
}

}  // namespace fade::tests
