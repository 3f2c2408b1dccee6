#include "creator.h"

#include <algorithm>
#include <cstring>
#include <string_view>
#include <utility>

#include "log.h"

namespace fade::tensorrt {
namespace {

using nvinfer1::PluginField;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginFieldType;

std::string nameOf(PluginFieldType type) {
  switch (type) {
    case PluginFieldType::kFLOAT16: return "float16";
    case PluginFieldType::kFLOAT32: return "float32";
    case PluginFieldType::kFLOAT64: return "float64";
    case PluginFieldType::kINT8: return "int8";
    case PluginFieldType::kINT16: return "int16";
    case PluginFieldType::kINT32: return "int32";
    case PluginFieldType::kINT64: return "int64";
    case PluginFieldType::kCHAR: return "text";
    default: return "TensorRT's field type " + std::to_string(static_cast<int32_t>(type));
  }
}

// What a field says, or how it fails to be one integer. A parser hands over whatever a file has.
std::string valueOf(PluginField const& field) {
  std::string const size = std::to_string(field.length);
  if (field.type != PluginFieldType::kINT32 && field.type != PluginFieldType::kINT64) {
    return nameOf(field.type) + " of length " + size;
  }
  if (field.length != 1 || field.data == nullptr) return size + " integers";
  int64_t value = 0;
  if (field.type == PluginFieldType::kINT64) {
    std::memcpy(&value, field.data, sizeof(value));
  } else {
    int32_t narrow = 0;
    std::memcpy(&narrow, field.data, sizeof(narrow));
    value = narrow;
  }
  return std::to_string(value);
}

// Throws InvalidNode unless the attributes are there, and what the name of the node means.
void checkFields(NodeType const& node, PluginFieldCollection const* given) {
  int32_t const count = given == nullptr || given->fields == nullptr ? 0 : given->nbFields;
  for (std::string_view const attribute : node.attributeNames) {
    std::string const name(attribute);
    std::string value = "missing";
    for (int32_t i = 0; i < count; ++i) {
      PluginField const& field = given->fields[i];
      if (field.name != nullptr && name == field.name) value = valueOf(field);
    }
    std::string const expected = std::to_string(attributeValue(node.attributes, attribute));
    if (value == expected) continue;
    throw InvalidNode(node.name + ": attribute " + name + " is " + value + ", expected " +
                      expected + ", which the name of the node means");
  }
  for (int32_t i = 0; i < count; ++i) {
    std::string const name = given->fields[i].name == nullptr ? "" : given->fields[i].name;
    auto const& known = node.attributeNames;
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    throw InvalidNode(node.name + ": attribute '" + name + "' is unknown, expected " +
                      attributesText(node));
  }
}

}  // namespace

Creator::Creator(NodeType node) {
  for (std::string_view const name : node.attributeNames) {
    values_.push_back(static_cast<int32_t>(attributeValue(node.attributes, name)));
  }
  for (size_t i = 0; i < values_.size(); ++i) {
    // The names are literals, which end in a zero.
    fields_.emplace_back(node.attributeNames[i].data(), &values_[i], PluginFieldType::kINT32, 1);
  }
  type_.text = node.name + " " + kPluginVersion + ", " + attributesText(node);
  type_.fields = {static_cast<int32_t>(fields_.size()), fields_.data()};
  type_.node = std::move(node);
}

nvinfer1::IPluginV3* Creator::createPlugin(char const* name, PluginFieldCollection const* fields,
                                           nvinfer1::TensorRTPhase) noexcept {
  char const* const layer = name == nullptr ? "" : name;
  return guarded<nvinfer1::IPluginV3*>(layer, nullptr, [&] {
    checkFields(type_.node, fields);
    return new Plugin(type_, layer);
  });
}

PluginFieldCollection const* Creator::getFieldNames() noexcept { return &type_.fields; }
char const* Creator::getPluginName() const noexcept { return type_.node.name.c_str(); }
char const* Creator::getPluginVersion() const noexcept { return kPluginVersion; }
char const* Creator::getPluginNamespace() const noexcept { return kDomain; }

std::vector<nvinfer1::IPluginCreatorInterface*> const& creators() {
  static auto const* const all = [] {
    auto* const made = new std::vector<nvinfer1::IPluginCreatorInterface*>;
    for (NodeType& node : allNodeTypes()) {
      if (runsOnGpu(node.kind)) made->push_back(new Creator(std::move(node)));
    }
    return made;
  }();
  return *all;
}

}  // namespace fade::tensorrt
