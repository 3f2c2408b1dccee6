#include "tensors.h"

#include <array>
#include <cstddef>
#include <stdexcept>

namespace fade::tensorrt {
namespace {

using nvinfer1::DimensionOperation;
using nvinfer1::IDimensionExpr;

IDimensionExpr const* made(IDimensionExpr const* expression) {
  if (expression == nullptr) throw std::runtime_error("TensorRT made no expression of a dimension");
  return expression;
}

// The output's `wanted` from an input's dimension that has the same symbol: sH from H, C from T*C.
IDimensionExpr const* expressionOf(NodeType const& node, Dimension const& wanted,
                                   nvinfer1::DimsExprs const* inputs,
                                   nvinfer1::IExprBuilder& builder) {
  for (size_t input = 0; input < node.inputs.size(); ++input) {
    std::vector<Dimension> const& dimensions = node.inputs[input].dimensions;
    for (size_t axis = 0; axis < dimensions.size(); ++axis) {
      Dimension const& given = dimensions[axis];
      if (given.symbol != wanted.symbol || given.orOne || given.orMore || given.addend != 0)
        continue;
      IDimensionExpr const* expression = inputs[input].d[axis];
      if (given.factor != 1) {
        expression = made(builder.operation(DimensionOperation::kFLOOR_DIV, *expression,
                                            *made(builder.constant(given.factor))));
      }
      if (wanted.factor != 1) {
        expression = made(builder.operation(DimensionOperation::kPROD, *expression,
                                            *made(builder.constant(wanted.factor))));
      }
      return expression;
    }
  }
  throw std::logic_error(node.name + ": no input has the output's " + wanted.text);
}

}  // namespace

std::optional<DataType> dataType(nvinfer1::DataType type) {
  switch (type) {
    case nvinfer1::DataType::kFLOAT: return DataType::kFloat32;
    case nvinfer1::DataType::kHALF: return DataType::kFloat16;
    case nvinfer1::DataType::kBF16: return DataType::kBfloat16;
    default: return std::nullopt;
  }
}

std::string nameOf(nvinfer1::DataType type) {
  switch (type) {
    case nvinfer1::DataType::kFLOAT: return "float32";
    case nvinfer1::DataType::kHALF: return "float16";
    case nvinfer1::DataType::kBF16: return "bfloat16";
    case nvinfer1::DataType::kINT8: return "int8";
    case nvinfer1::DataType::kINT32: return "int32";
    case nvinfer1::DataType::kINT64: return "int64";
    case nvinfer1::DataType::kUINT8: return "uint8";
    case nvinfer1::DataType::kBOOL: return "bool";
    default: return "TensorRT's data type " + std::to_string(static_cast<int32_t>(type));
  }
}

void checkTypes(NodeType const& node, std::vector<nvinfer1::DataType> const& types) {
  for (size_t i = 0; i < types.size(); ++i) {
    std::string const given = node.name + ": " + node.inputs[i].name + " is " + nameOf(types[i]);
    if (!dataType(types[i])) {
      throw InvalidNode(given + ", expected float32, float16 or bfloat16");
    }
    if (types[i] != types[0]) {
      throw InvalidNode(given + ", expected " + nameOf(types[0]) + ", which " +
                        node.inputs[0].name + " is: all tensors of a node have one type");
    }
  }
}

void checkCounts(NodeType const& node, int32_t inputs, int32_t outputs) {
  if (static_cast<size_t>(inputs) == node.inputs.size() && outputs == 1) return;
  throw InvalidNode(node.name + ": has " + std::to_string(inputs) + " inputs and " +
                    std::to_string(outputs) + " outputs, expected " +
                    std::to_string(node.inputs.size()) + " and 1");
}

Shape shapeOf(nvinfer1::Dims const& dims) {
  return dims.nbDims < 0 ? Shape{} : Shape(dims.d, dims.d + dims.nbDims);
}

std::string textOf(nvinfer1::Dims const& dims) {
  std::string text = "[";
  for (int64_t const size : shapeOf(dims)) {
    text += (text.size() > 1 ? "," : "") + (size < 0 ? "?" : std::to_string(size));
  }
  return text + "]";
}

void setOutputShape(NodeType const& node, nvinfer1::DimsExprs const* inputs,
                    nvinfer1::DimsExprs& output, nvinfer1::IExprBuilder& builder) {
  std::vector<Shape> shapes;
  for (size_t input = 0; input < node.inputs.size(); ++input) {
    shapes.emplace_back();
    for (int32_t axis = 0; axis < inputs[input].nbDims; ++axis) {
      IDimensionExpr const& size = *inputs[input].d[axis];
      shapes.back().push_back(size.isConstant() ? size.getConstantValue() : kUnknown);
    }
  }
  std::array<int64_t, 4> const known = outputShape(node, shapes);
  output.nbDims = static_cast<int32_t>(known.size());
  for (size_t axis = 0; axis < known.size(); ++axis) {
    output.d[axis] = known[axis] == kUnknown
                         ? expressionOf(node, node.output[axis], inputs, builder)
                         : made(builder.constant(known[axis]));
  }
}

}  // namespace fade::tensorrt
