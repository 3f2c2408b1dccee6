// What TensorRT calls while it builds an engine.
#include "tensorrt_library.h"

namespace fade::tests {
namespace {

using nvinfer1::DataType;
using nvinfer1::Dims;
using nvinfer1::DimsExprs;
using nvinfer1::DynamicPluginTensorDesc;
using nvinfer1::TensorFormat;

constexpr DataType kTypes[] = {DataType::kFLOAT, DataType::kHALF, DataType::kBF16};
constexpr DataType kOthers[] = {DataType::kINT8,  DataType::kINT32, DataType::kINT64, DataType::kBOOL,
                                DataType::kUINT8, DataType::kFP8,   DataType::kINT4};

// Calls getOutputShapes() with these shapes, of which the axes in `unknown` are no constants; the output, or nothing.
Shape outputOf(PluginPointer const& plugin, std::vector<Shape> const& shapes, std::string const& unknown,
               int32_t& status, std::string& constants) {
  ExpressionBuilder builder;
  std::vector<DimsExprs> inputs;
  for (Shape const& shape : shapes) {
    DimsExprs dims{static_cast<int32_t>(shape.size()), {}};
    for (size_t axis = 0; axis < shape.size(); ++axis) {
      bool const known = unknown.find("0123"[axis % 4]) == std::string::npos;
      dims.d[axis] = known ? builder.constant(shape[axis]) : builder.unknown(shape[axis]);
    }
    inputs.push_back(dims);
  }
  DimsExprs output{};
  status = building(plugin).getOutputShapes(inputs.data(), static_cast<int32_t>(inputs.size()), nullptr, 0, &output, 1,
                                            builder);
  Shape shape;
  constants.clear();
  for (int32_t axis = 0; status == 0 && axis < output.nbDims; ++axis) {
    shape.push_back(static_cast<Expression const*>(output.d[axis])->value());
    constants += output.d[axis]->isConstant() ? "" : std::to_string(axis);
  }
  return shape;
}

void checkOutputShapes(Library const& library, Account& account) {
  for (NodeType const& type : allNodeTypes()) {
    if (type.kind == OperatorKind::kHead) continue;
    PluginPointer const plugin = library.plugin(type);
    int64_t const channels = 12, s = type.attributes.scale;  // a multiple of every number of groups
    bool right = true;
    for (bool const wholeBase : {true, false}) {
      for (std::string const unknown : {"", "0", "23", "0123"}) {
        int32_t status = 0;
        std::string constants;
        Shape const given =
            outputOf(plugin, shapesOf(type, {2, channels, 5, 7}, wholeBase), unknown, status, constants);
        right = right && given == Shape{2, channels, 5 * s, 7 * s} && constants == unknown;
      }
    }
    // One line for an operator, or for what is wrong.
    bool const last = type.attributes.kernelSize == 7 && type.attributes.scale == 4 &&
                      (type.attributes.groups == 4 || type.attributes.terms == 4 || type.attributeNames.size() == 2);
    if (!right || last)
      account.check(right, type.name + " and its other names: the output's shape, static and dynamic");
  }
  struct Wrong {
    char const* name;
    std::vector<Shape> shapes;
    char const* unknown;
    char const* told;
  };
  Wrong const wrong[] = {
      {"FadeReassemble", {{2, 6, 4}, {2, 25, 8, 10}}, "", "features is [2,6,4], expected [N,C,H,W]"},
      {"FadeReassemble",
       {{2, 6, 4, 5}, {2, 9, 8, 10}},
       "",
       "kernels is [2,9,8,10], expected [N,G*K*K,sH,sW] = [2,25,8,10]"},
      {"FadeReassemble",
       {{2, 6, 4, 5}, {2, 9, 8, 10}},
       "023",
       "kernels is [?,9,?,?], expected [N,G*K*K,sH,sW] = [?,25,?,?]"},
      {"FadeReassemble_k3_s2_g4",
       {{2, 6, 4, 5}, {2, 36, 8, 10}},
       "",
       "features has 6 channels, expected a multiple of groups = 4"},
      {"FadeUpsample",
       {{2, 6, 4, 5}, {2, 25, 8, 10}, {2, 6, 8, 10}, {2, 1, 8, 10}},
       "",
       "gate_logits is [2,1,8,10], expected [N,1,H,W]"},
      {"FadeUpsample",
       {{2, 6, 4, 5}, {2, 25, 8, 10}, {2, 5, 8, 10}, {2, 1, 4, 5}},
       "023",
       "encoder is [?,5,?,?], expected"},
      {"FadeUpsample",
       {{2, 6, 4, 5}, {2, 25, 8, 10}},
       "",
       "FadeUpsample: has 2 inputs and 1 outputs, expected 4 and 1"},
      {"FadeUpsample",
       {{1, int64_t{1} << 40, 1 << 20, 1 << 20},
        {1, 25, 1 << 21, 1 << 21},
        {1, int64_t{1} << 40, 1 << 21, 1 << 21},
        {1, 1, 1 << 20, 1 << 20}},
       "",
       "exceeds 64 bits"},
      {"FadeAccumulate_k5_s2_t3",
       {{1, 6, 4, 5}, {1, 75, 8, 10}, {1, 3, 1, 1}, {1, 3, 4, 5}},
       "",
       "base is [1,3,1,1], expected [N or 1,C or 1,sH or 1,sW or 1]"},
      {"FadeAccumulate_k5_s2_t3",
       {{1, 7, 4, 5}, {1, 75, 8, 10}, {1, 1, 1, 1}, {1, 3, 4, 5}},
       "",
       "decoder is [1,7,4,5], expected [N,T*C,H,W]"},
      {"FadeUpsampleAdd",
       {{1, 6, 4, 5}, {1, 25, 8, 10}, {1, 25, 4, 5}, {1, 6, 8, 10}, {1, 1, 4, 5}, {1, 6, 4, 5}},
       "",
       "skip is [1,6,4,5], expected [N,C,sH,sW] = [1,6,8,10]"},
  };
  for (Wrong const& each : wrong) {
    int32_t status = 0;
    std::string constants;
    outputOf(library.plugin(nodeType(each.name)), each.shapes, each.unknown, status, constants);
    account.refused(status != 0, std::string(each.name) + ", shapes of a network that don't fit", each.told);
  }
}

void checkTypes(Library const& library, Account& account) {
  PluginPointer const plugin = library.plugin(nodeType("FadeUpsample"));
  bool right = true;
  for (DataType const type : kTypes) {
    DataType const inputs[] = {type, type, type, type};
    DataType output = DataType::kINT4;
    right = right && building(plugin).getOutputDataTypes(&output, 1, inputs, 4) == 0 && output == type;
  }
  account.check(right, "float32, float16 and bfloat16 give an output of the same type");
  for (DataType const type : kOthers) {
    DataType const inputs[] = {type, type, type, type};
    DataType output{};
    account.refused(building(plugin).getOutputDataTypes(&output, 1, inputs, 4) != 0,
                    "data type " + std::to_string(static_cast<int32_t>(type)), "expected float32, float16 or bfloat16");
  }
  DataType const mixed[] = {DataType::kHALF, DataType::kHALF, DataType::kFLOAT, DataType::kHALF};
  DataType output{};
  account.refused(building(plugin).getOutputDataTypes(&output, 1, mixed, 4) != 0, "mixed types",
                  "FadeUpsample: encoder is float32, expected float16, which decoder is");
  account.refused(building(plugin).getOutputDataTypes(&output, 1, mixed, 3) != 0, "three inputs", "has 3 inputs");
  account.refused(building(plugin).getOutputDataTypes(&output, 2, mixed, 4) != 0, "two outputs", "and 2 outputs");
}

void checkFormats(Library const& library, Account& account) {
  PluginPointer const plugin = library.plugin(nodeType("FadeUpsample"));
  Shape const any{1, 1, 1, 1};
  bool linear = true, others = true, mixed = true;
  for (DataType const first : {DataType::kFLOAT, DataType::kHALF, DataType::kBF16, DataType::kINT8, DataType::kINT32}) {
    std::vector<DynamicPluginTensorDesc> tensors(5);
    for (DynamicPluginTensorDesc& each : tensors) each.desc = tensor(any, first);
    bool const stored = first == kTypes[0] || first == kTypes[1] || first == kTypes[2];
    for (int32_t position = 0; position < 5; ++position) {
      auto const supports = [&] { return building(plugin).supportsFormatCombination(position, tensors.data(), 4, 1); };
      nvinfer1::PluginTensorDesc& here = tensors[static_cast<size_t>(position)].desc;
      linear = linear && supports() == stored;
      for (int32_t format = 1; format <= static_cast<int32_t>(TensorFormat::kDHWC); ++format) {
        here.format = static_cast<TensorFormat>(format);
        others = others && !supports();
      }
      here.format = TensorFormat::kLINEAR;
      for (DataType const second : kTypes) {
        here.type = second;
        mixed = mixed && supports() == (position == 0 || second == first);
      }
      here.type = first;
    }
    mixed = mixed && !building(plugin).supportsFormatCombination(-1, tensors.data(), 4, 1) &&
            !building(plugin).supportsFormatCombination(5, tensors.data(), 4, 1);
  }
  account.check(linear, "the linear layout of float32, float16 and bfloat16, at every place, and of nothing else");
  account.check(others, "no other layout");
  account.check(mixed, "one type for all tensors of a node");
}

DynamicPluginTensorDesc profiled(Shape const& stated, Shape const& smallest, Shape const& optimal,
                                 Shape const& largest) {
  return {tensor(stated), dimsOf(smallest), dimsOf(largest), dimsOf(optimal)};
}

void checkProfiles(Library const& library, Account& account) {
  NodeType const& type = nodeType("FadeUpsample");
  PluginPointer const plugin = library.plugin(type);
  auto const shapes = [&](int64_t side) { return shapesOf(type, {2, 6, side, side + 1}, true); };
  std::vector<DynamicPluginTensorDesc> fixed, dynamic;
  for (size_t i = 0; i < 4; ++i) {
    fixed.push_back(profiled(shapes(4)[i], shapes(4)[i], shapes(4)[i], shapes(4)[i]));
    dynamic.push_back(profiled({-1, shapes(4)[i][1], -1, -1}, shapes(4)[i], shapes(8)[i], shapes(16)[i]));
  }
  DynamicPluginTensorDesc const fixedOutput = profiled({2, 6, 8, 10}, {2, 6, 8, 10}, {2, 6, 8, 10}, {2, 6, 8, 10});
  DynamicPluginTensorDesc const dynamicOutput =
      profiled({-1, 6, -1, -1}, {2, 6, 8, 10}, {2, 6, 16, 18}, {2, 6, 32, 34});
  nvinfer1::IPluginV3OneBuild& build = building(plugin);
  account.check(build.configurePlugin(fixed.data(), 4, &fixedOutput, 1) == 0, "a network of fixed shapes");
  account.check(build.configurePlugin(dynamic.data(), 4, &dynamicOutput, 1) == 0, "a profile");
  account.check(build.getWorkspaceSize(fixed.data(), 4, &fixedOutput, 1) == 0 && build.getNbTactics() == 0 &&
                    build.getNbOutputs() == 1,
                "no workspace, no tactics of its own, one output");
  std::vector<DynamicPluginTensorDesc> wrong = dynamic;
  wrong[2].opt.d[3] = 17;
  account.refused(build.configurePlugin(wrong.data(), 4, &dynamicOutput, 1) != 0,
                  "a profile whose best shapes don't fit",
                  "encoder is [2,6,16,17], expected [N,C,sH,sW] = [2,6,16,18]");
  wrong = fixed;
  wrong[3].desc.dims.d[1] = 2;
  account.refused(build.configurePlugin(wrong.data(), 4, &fixedOutput, 1) != 0, "fixed shapes that don't fit",
                  "gate_logits is [2,2,4,5]");
  account.refused(build.configurePlugin(fixed.data(), 4, &dynamicOutput, 1) != 0, "another output than the inputs give",
                  "the output is [2,6,16,18], expected [2,6,8,10]");
  account.refused(build.configurePlugin(fixed.data(), 3, &fixedOutput, 1) != 0, "a profile of three inputs",
                  "has 3 inputs");
  wrong = fixed;
  wrong[1].desc.type = DataType::kHALF;
  account.refused(build.configurePlugin(wrong.data(), 4, &fixedOutput, 1) != 0, "a profile of mixed types",
                  "kernel_logits is float16, expected float32");
}

}  // namespace

void checkBuilding(Library const& library, Account& account) {
  checkOutputShapes(library, account);
  checkTypes(library, account);
  checkFormats(library, account);
  checkProfiles(library, account);
}

}  // namespace fade::tests
