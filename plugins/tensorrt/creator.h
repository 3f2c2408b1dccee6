// Makes the plugins of one name, for TensorRT's registry.
#pragma once

#include <string>
#include <vector>

#include "NvInferRuntime.h"
#include "contract.h"
#include "plugin.h"

namespace fade::tensorrt {

// Never destroyed: the registry and plugins point into it.
class Creator final : public nvinfer1::IPluginCreatorV3One {
 public:
  explicit Creator(NodeType node);
  Creator(Creator const&) = delete;
  Creator& operator=(Creator const&) = delete;

  // Null, and an error in TensorRT's log, unless `fields` are the operator's attributes, each one
  // integer, with the values that this name means.
  nvinfer1::IPluginV3* createPlugin(char const* name, nvinfer1::PluginFieldCollection const* fields,
                                    nvinfer1::TensorRTPhase phase) noexcept override;
  nvinfer1::PluginFieldCollection const* getFieldNames() noexcept override;
  char const* getPluginName() const noexcept override;
  char const* getPluginVersion() const noexcept override;
  char const* getPluginNamespace() const noexcept override;

 private:
  std::vector<int32_t> values_;                // of the attributes
  std::vector<nvinfer1::PluginField> fields_;  // point into values_
  PluginType type_;                            // points into fields_
};

// One for every name of every operator that has a kernel.
std::vector<nvinfer1::IPluginCreatorInterface*> const& creators();

}  // namespace fade::tensorrt
