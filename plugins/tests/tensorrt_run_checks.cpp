// What TensorRT calls while an engine runs, as far as it goes without a GPU.
#include <unistd.h>

#include <cstdio>
#include <stdexcept>

#include "tensorrt_library.h"

namespace fade::tests {
namespace {

using nvinfer1::DataType;
using nvinfer1::PluginTensorDesc;

struct Shapes {
  std::vector<PluginTensorDesc> inputs;
  PluginTensorDesc output;
};

Shapes shapesFor(NodeType const& type, int64_t side, DataType dataType) {
  Shapes made{{}, tensor({2, 12, side * type.attributes.scale, (side + 1) * type.attributes.scale}, dataType)};
  for (Shape const& shape : shapesOf(type, {2, 12, side, side + 1}, true))
    made.inputs.push_back(tensor(shape, dataType));
  return made;
}

int32_t change(PluginPointer const& plugin, Shapes const& shapes) {
  return running(plugin).onShapeChange(shapes.inputs.data(), static_cast<int32_t>(shapes.inputs.size()), &shapes.output,
                                       1);
}

// What `action` prints to standard error.
template <typename Action>
std::string standardError(Action const& action) {
  std::FILE* const file = std::tmpfile();
  std::fflush(stderr);
  int const before = dup(2);
  dup2(fileno(file), 2);
  action();
  std::fflush(stderr);
  dup2(before, 2);
  close(before);
  std::rewind(file);
  char text[512] = {};
  size_t const length = std::fread(text, 1, sizeof(text) - 1, file);
  std::fclose(file);
  return std::string(text, length);
}

class ThrowingFinder final : public nvinfer1::ILoggerFinder {
 public:
  nvinfer1::ILogger* findLogger() override { throw std::runtime_error("no logger"); }
};

}  // namespace

void checkRunning(Library const& library, Account& account) {
  bool all = true;
  for (NodeType const& type : allNodeTypes()) {
    if (type.kind == OperatorKind::kHead) continue;
    PluginPointer const plugin = library.plugin(type);
    for (DataType const dataType : {DataType::kFLOAT, DataType::kHALF, DataType::kBF16}) {
      for (int64_t const side : {1, 4, 40}) all = all && change(plugin, shapesFor(type, side, dataType)) == 0;
    }
  }
  account.check(all, "every name takes fitting shapes, in all three types");

  NodeType const& type = nodeType("FadeUpsample");
  PluginPointer const plugin = library.plugin(type);
  Shapes const right = shapesFor(type, 4, DataType::kHALF);
  Shapes wrong = right;
  wrong.inputs[1].dims.d[1] = 9;
  account.refused(change(plugin, wrong) != 0, "a run with shapes that don't fit",
                  "layer: FadeUpsample: kernel_logits is [2,9,8,10], expected [N,K*K,sH,sW] = [2,25,8,10]");
  wrong = right;
  wrong.inputs[0].dims.nbDims = 3;
  account.refused(change(plugin, wrong) != 0, "a run with three dimensions", "decoder is [2,12,4], expected [N,C,H,W]");
  wrong = right;
  wrong.inputs[3].type = DataType::kFLOAT;
  account.refused(change(plugin, wrong) != 0, "a run with mixed types", "gate_logits is float32, expected float16");
  wrong = right;
  for (PluginTensorDesc& input : wrong.inputs) input.type = DataType::kINT8;
  account.refused(change(plugin, wrong) != 0, "a run in int8",
                  "decoder is int8, expected float32, float16 or bfloat16");
  wrong = right;
  wrong.output.dims.d[3] = 12;
  account.refused(change(plugin, wrong) != 0, "a run with another output",
                  "the output is [2,12,8,12], expected [2,12,8,10]");
  wrong = right;
  for (PluginTensorDesc& input : wrong.inputs) input.dims.d[0] = -1;
  wrong.output.dims.d[0] = -1;
  account.refused(change(plugin, wrong) != 0, "a run with a dimension that isn't known", "are not known yet");
  account.refused(running(plugin).onShapeChange(right.inputs.data(), 2, &right.output, 1) != 0, "a run with two inputs",
                  "has 2 inputs");

  account.check(running(plugin).setTactic(0) == 0, "tactic 0");
  account.refused(running(plugin).setTactic(3) != 0, "another tactic", "tactic 3 is asked for, expected 0");

  ResourceContext context;
  for (nvinfer1::IPluginResourceContext* const given : {static_cast<nvinfer1::IPluginResourceContext*>(&context),
                                                        static_cast<nvinfer1::IPluginResourceContext*>(nullptr)}) {
    PluginPointer const attached(running(plugin).attachToContext(given));
    account.check(attached != nullptr && attached.get() != plugin.get() && change(attached, right) == 0,
                  "an execution context gets a plugin of its own");
  }

  void const* const nowhere[] = {nullptr, nullptr, nullptr, nullptr};
  void* const nothing[] = {nullptr};
  auto const enqueue = [&](Shapes const& shapes) {
    return running(plugin).enqueue(shapes.inputs.data(), &shapes.output, nowhere, nothing, nullptr, nullptr);
  };
  account.check(change(plugin, right) == 0, "fitting shapes after all those");
  account.refused(enqueue(right) != 0, "enqueue without tensors", "layer: FadeUpsample: CUDA says: invalid argument");
  wrong = right;
  wrong.inputs[2].dims.d[1] = 5;
  account.refused(enqueue(wrong) != 0, "enqueue with other shapes than were announced", "encoder is [2,5,8,10]");
  Shapes empty = right;
  for (PluginTensorDesc& input : empty.inputs) input.dims.d[0] = 0;
  empty.output.dims.d[0] = 0;
  account.check(change(plugin, empty) == 0 && enqueue(empty) == 0, "an empty batch: nothing is launched");
}

void checkWithoutLogger(Library const& library, Account& account) {
  PluginPointer const plugin = library.plugin(nodeType("FadeUpsample"));
  library.setLoggerFinder(nullptr);
  std::string const told = standardError([&] { running(plugin).setTactic(1); });
  account.check(told.find("fade: layer: FadeUpsample: tactic 1") == 0, "without a logger, standard error");
  ThrowingFinder throwing;
  library.setLoggerFinder(&throwing);
  std::string const anyway = standardError([&] { running(plugin).setTactic(1); });
  account.check(anyway == told, "and where looking for one throws");
  library.setLoggerFinder(nullptr);
}

}  // namespace fade::tests
