// One operator of the contract as a TensorRT plugin: types, shapes and errors; the arithmetic is
// the kernel's.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "NvInferRuntime.h"
#include "contract.h"
#include "fade_cpu.h"

namespace fade::tensorrt {

// A node type with its attributes as TensorRT wants them. Kept for good: plugins and registries
// point into it.
struct PluginType {
  NodeType node;
  std::string text;  // all that makes it: "FadeUpsample 1, kernel_size 5, scale 2"
  nvinfer1::PluginFieldCollection fields{};
};

inline constexpr char const* kPluginVersion = "1";  // kVersion of the contract

class Plugin final : public nvinfer1::IPluginV3,
                     public nvinfer1::IPluginV3OneCore,
                     public nvinfer1::IPluginV3OneBuild,
                     public nvinfer1::IPluginV3OneRuntime {
 public:
  // `layer`: TensorRT's name of the node, for messages.
  Plugin(PluginType const& type, std::string layer);

  nvinfer1::IPluginCapability* getCapabilityInterface(
      nvinfer1::PluginCapabilityType type) noexcept override;
  nvinfer1::IPluginV3* clone() noexcept override;

  // What it is
  char const* getPluginName() const noexcept override;
  char const* getPluginVersion() const noexcept override;
  char const* getPluginNamespace() const noexcept override;

  // While an engine is built
  int32_t getNbOutputs() const noexcept override;
  int32_t getOutputDataTypes(nvinfer1::DataType* outputTypes, int32_t nbOutputs,
                             nvinfer1::DataType const* inputTypes,
                             int32_t nbInputs) const noexcept override;
  int32_t getOutputShapes(nvinfer1::DimsExprs const* inputs, int32_t nbInputs,
                          nvinfer1::DimsExprs const* shapeInputs, int32_t nbShapeInputs,
                          nvinfer1::DimsExprs* outputs, int32_t nbOutputs,
                          nvinfer1::IExprBuilder& exprBuilder) noexcept override;
  bool supportsFormatCombination(int32_t pos, nvinfer1::DynamicPluginTensorDesc const* inOut,
                                 int32_t nbInputs, int32_t nbOutputs) noexcept override;
  int32_t configurePlugin(nvinfer1::DynamicPluginTensorDesc const* in, int32_t nbInputs,
                          nvinfer1::DynamicPluginTensorDesc const* out,
                          int32_t nbOutputs) noexcept override;
  char const* getTimingCacheID() noexcept override;
  char const* getMetadataString() noexcept override;

  // While an engine runs
  int32_t setTactic(int32_t tactic) noexcept override;
  int32_t onShapeChange(nvinfer1::PluginTensorDesc const* in, int32_t nbInputs,
                        nvinfer1::PluginTensorDesc const* out, int32_t nbOutputs) noexcept override;
  int32_t enqueue(nvinfer1::PluginTensorDesc const* inputDesc,
                  nvinfer1::PluginTensorDesc const* outputDesc, void const* const* inputs,
                  void* const* outputs, void* workspace, cudaStream_t stream) noexcept override;
  nvinfer1::IPluginV3* attachToContext(nvinfer1::IPluginResourceContext* context) noexcept override;
  nvinfer1::PluginFieldCollection const* getFieldsToSerialize() noexcept override;

 private:
  // Shapes and type that were checked, so that a launch has nothing left to do but to start.
  struct Checked {
    std::vector<Shape> inputs;
    std::array<int64_t, 4> output;
    DataType type;
  };

  Checked check(nvinfer1::PluginTensorDesc const* in, nvinfer1::PluginTensorDesc const& out) const;
  bool isChecked(nvinfer1::PluginTensorDesc const* in) const;

  PluginType const* type_;
  std::string layer_;
  std::optional<Checked> checked_;
};

}  // namespace fade::tensorrt
