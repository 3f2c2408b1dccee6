// From TensorRT's descriptions of tensors to the contract's, and back.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "NvInferRuntime.h"
#include "contract.h"
#include "fade_cpu.h"

namespace fade::tensorrt {

// The kernels' type of storage; nothing for what they do not store.
std::optional<DataType> dataType(nvinfer1::DataType type);

// "float16".
std::string nameOf(nvinfer1::DataType type);

// Throws InvalidNode unless all inputs have one type, and the kernels know it.
void checkTypes(NodeType const& node, std::vector<nvinfer1::DataType> const& types);

// Throws InvalidNode unless a node of this type has so many inputs and one output.
void checkCounts(NodeType const& node, int32_t inputs, int32_t outputs);

// A wildcard is kUnknown.
Shape shapeOf(nvinfer1::Dims const& dims);

// "[1,64,32,32]", for messages.
std::string textOf(nvinfer1::Dims const& dims);

// Checks the shapes of the inputs, as far as they are constants, and writes an expression for each
// dimension of the output. Throws InvalidNode.
void setOutputShape(NodeType const& node, nvinfer1::DimsExprs const* inputs,
                    nvinfer1::DimsExprs& output, nvinfer1::IExprBuilder& builder);

}  // namespace fade::tensorrt
