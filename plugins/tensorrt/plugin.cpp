#include "plugin.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <stdexcept>
#include <utility>

#include "fade_cuda.h"
#include "log.h"
#include "tensors.h"
#include "upsample_arguments.h"

namespace fade::tensorrt {
namespace {

using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::PluginTensorDesc;

constexpr int32_t kDone = 0, kFailed = 1;  // any status other than 0 ends a build or a run

void checkOutput(NodeType const& node, std::array<int64_t, 4> const& expected,
                 nvinfer1::Dims const& given) {
  nvinfer1::Dims wanted{static_cast<int32_t>(expected.size()), {}};
  bool fits = given.nbDims == wanted.nbDims;
  for (size_t axis = 0; axis < expected.size(); ++axis) {
    wanted.d[axis] = expected[axis];
    fits = fits && (given.d[axis] < 0 || expected[axis] < 0 || given.d[axis] == expected[axis]);
  }
  if (fits) return;
  throw InvalidNode(node.name + ": the output is " + textOf(given) + ", expected " +
                    textOf(wanted) + " for the shapes of the inputs");
}

}  // namespace

Plugin::Plugin(PluginType const& type, std::string layer)
    : type_(&type), layer_(std::move(layer)) {}

nvinfer1::IPluginCapability* Plugin::getCapabilityInterface(
    nvinfer1::PluginCapabilityType type) noexcept {
  switch (type) {
    case nvinfer1::PluginCapabilityType::kCORE:
      return static_cast<nvinfer1::IPluginV3OneCore*>(this);
    case nvinfer1::PluginCapabilityType::kBUILD:
      return static_cast<nvinfer1::IPluginV3OneBuild*>(this);
    case nvinfer1::PluginCapabilityType::kRUNTIME:
      return static_cast<nvinfer1::IPluginV3OneRuntime*>(this);
  }
  return nullptr;
}

nvinfer1::IPluginV3* Plugin::clone() noexcept {
  return guarded<nvinfer1::IPluginV3*>(layer_.c_str(), nullptr, [&] { return new Plugin(*this); });
}

char const* Plugin::getPluginName() const noexcept { return type_->node.name.c_str(); }
char const* Plugin::getPluginVersion() const noexcept { return kPluginVersion; }
char const* Plugin::getPluginNamespace() const noexcept { return kDomain; }
int32_t Plugin::getNbOutputs() const noexcept { return 1; }

int32_t Plugin::getOutputDataTypes(nvinfer1::DataType* outputTypes, int32_t nbOutputs,
                                   nvinfer1::DataType const* inputTypes,
                                   int32_t nbInputs) const noexcept {
  return guarded(layer_.c_str(), kFailed, [&] {
    checkCounts(type_->node, nbInputs, nbOutputs);
    checkTypes(type_->node, {inputTypes, inputTypes + nbInputs});
    outputTypes[0] = inputTypes[0];
    return kDone;
  });
}

int32_t Plugin::getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t nbInputs,
                                nvinfer1::DimsExprs const*, int32_t, nvinfer1::DimsExprs* outputs,
                                int32_t nbOutputs, nvinfer1::IExprBuilder& exprBuilder) noexcept {
  return guarded(layer_.c_str(), kFailed, [&] {
    checkCounts(type_->node, nbInputs, nbOutputs);
    setOutputShape(type_->node, inputs, outputs[0], exprBuilder);
    return kDone;
  });
}

// Asked of many combinations that are not the network's: a refusal is no error.
bool Plugin::supportsFormatCombination(int32_t pos, DynamicPluginTensorDesc const* inOut,
                                       int32_t nbInputs, int32_t nbOutputs) noexcept {
  if (pos < 0 || pos >= nbInputs + nbOutputs) return false;
  PluginTensorDesc const& tensor = inOut[pos].desc;
  return tensor.format == nvinfer1::TensorFormat::kLINEAR && dataType(tensor.type).has_value() &&
         tensor.type == inOut[0].desc.type;
}

int32_t Plugin::configurePlugin(DynamicPluginTensorDesc const* in, int32_t nbInputs,
                                DynamicPluginTensorDesc const* out, int32_t nbOutputs) noexcept {
  return guarded(layer_.c_str(), kFailed, [&] {
    NodeType const& node = type_->node;
    checkCounts(node, nbInputs, nbOutputs);
    std::vector<nvinfer1::DataType> types;
    std::vector<Shape> stated, optimal;
    for (int32_t i = 0; i < nbInputs; ++i) {
      types.push_back(in[i].desc.type);
      stated.push_back(shapeOf(in[i].desc.dims));
      optimal.push_back(shapeOf(in[i].opt));
    }
    checkTypes(node, types);
    // A profile's smallest and largest shapes are bounds, each tensor's on its own: that they
    // don't fit each other says nothing of the shapes that will come.
    checkOutput(node, outputShape(node, stated), out[0].desc.dims);
    checkOutput(node, outputShape(node, optimal), out[0].opt);
    return kDone;
  });
}

char const* Plugin::getTimingCacheID() noexcept { return type_->text.c_str(); }
char const* Plugin::getMetadataString() noexcept { return type_->text.c_str(); }

int32_t Plugin::setTactic(int32_t tactic) noexcept {
  return guarded(layer_.c_str(), kFailed, [&] {
    if (tactic == 0) return kDone;
    throw InvalidNode(type_->node.name + ": tactic " + std::to_string(tactic) +
                      " is asked for, expected 0, the only one: build the engine again");
  });
}

Plugin::Checked Plugin::check(PluginTensorDesc const* in, PluginTensorDesc const& out) const {
  NodeType const& node = type_->node;
  std::vector<nvinfer1::DataType> types;
  Checked checked{};
  for (size_t i = 0; i < node.inputs.size(); ++i) {
    types.push_back(in[i].type);
    checked.inputs.push_back(shapeOf(in[i].dims));
  }
  checkTypes(node, types);
  checked.type = *dataType(types[0]);
  checked.output = outputShape(node, checked.inputs);
  checkOutput(node, checked.output, out.dims);
  if (std::find(checked.output.begin(), checked.output.end(), kUnknown) != checked.output.end()) {
    throw InvalidNode(node.name + ": the shapes of the inputs are not known yet");
  }
  return checked;
}

bool Plugin::isChecked(PluginTensorDesc const* in) const {
  if (!checked_) return false;
  for (size_t i = 0; i < checked_->inputs.size(); ++i) {
    Shape const& shape = checked_->inputs[i];
    nvinfer1::Dims const& dims = in[i].dims;
    if (dataType(in[i].type) != checked_->type ||
        static_cast<size_t>(dims.nbDims) != shape.size() ||
        !std::equal(shape.begin(), shape.end(), dims.d)) {
      return false;
    }
  }
  return true;
}

int32_t Plugin::onShapeChange(PluginTensorDesc const* in, int32_t nbInputs,
                              PluginTensorDesc const* out, int32_t nbOutputs) noexcept {
  return guarded(layer_.c_str(), kFailed, [&] {
    checked_.reset();
    checkCounts(type_->node, nbInputs, nbOutputs);
    checked_ = check(in, out[0]);
    return kDone;
  });
}

int32_t Plugin::enqueue(PluginTensorDesc const* inputDesc, PluginTensorDesc const* outputDesc,
                        void const* const* inputs, void* const* outputs, void*,
                        cudaStream_t stream) noexcept {
  return guarded(layer_.c_str(), kFailed, [&] {
    // TensorRT calls onShapeChange() first, of this object; that another one's shapes would be
    // used is not left to that.
    if (!isChecked(inputDesc)) checked_ = check(inputDesc, outputDesc[0]);
    cudaError_t const status =
        launch(upsampleArguments(type_->node, checked_->type, checked_->inputs, inputs,
                                 checked_->output, outputs[0]),
               stream);
    if (status == cudaSuccess) return kDone;
    throw std::runtime_error(type_->node.name + ": CUDA says: " + cudaGetErrorString(status));
  });
}

nvinfer1::IPluginV3* Plugin::attachToContext(nvinfer1::IPluginResourceContext*) noexcept {
  return clone();
}

nvinfer1::PluginFieldCollection const* Plugin::getFieldsToSerialize() noexcept {
  return &type_->fields;
}

}  // namespace fade::tensorrt
