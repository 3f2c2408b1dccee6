#include "upsample_arguments.h"

namespace fade {

UpsampleArguments upsampleArguments(NodeType const& type, DataType dataType,
                                    std::vector<Shape> const& shapes, void const* const* inputs,
                                    std::array<int64_t, 4> const& outputShape, void* output) {
  constexpr size_t kDecoder = 0,
                   kKernels = 1;  // of every operator, `features` of FadeReassemble among them
  Shape const& decoder = shapes[kDecoder];
  UpsampleArguments arguments;
  arguments.type = dataType;
  arguments.batch = outputShape[0];
  arguments.channels = outputShape[1];
  arguments.height = decoder[2];
  arguments.width = decoder[3];
  arguments.kernelSize = type.attributes.kernelSize;
  arguments.scale = type.attributes.scale;
  arguments.groups = type.attributes.groups;
  arguments.terms = type.attributes.terms;
  arguments.decoder = inputs[kDecoder];
  arguments.kernels = inputs[kKernels];
  arguments.output = output;
  auto const setBase = [&](size_t input) {
    Shape const& shape = shapes[input];
    arguments.base = inputs[input];
    int64_t stride = 1;
    for (size_t axis = shape.size(); axis-- > 0;) {
      arguments.baseStrides[axis] = shape[axis] == 1 ? 0 : stride;
      stride *= shape[axis];
    }
  };
  switch (type.kind) {
    case OperatorKind::kReassemble: break;
    case OperatorKind::kUpsample: {
      enum { kEncoder = 2, kGateLogits };
      arguments.softmax = true;
      arguments.weightKind = DecoderWeight::kOneMinusSigmoid;
      arguments.weight = inputs[kGateLogits];
      arguments.encoder = inputs[kEncoder];
      break;
    }
    case OperatorKind::kUpsampleAdd: {
      enum { kDecoderLogits = 2, kEncoder, kGateLogits, kSkip };
      arguments.softmax = true;
      arguments.decoderLogits = inputs[kDecoderLogits];
      arguments.weightKind = DecoderWeight::kOneMinusSigmoid;
      arguments.weight = inputs[kGateLogits];
      arguments.encoder = inputs[kEncoder];
      setBase(kSkip);
      break;
    }
    case OperatorKind::kAccumulate: {
      enum { kBase = 2, kDecoderWeight };
      arguments.softmax = true;
      arguments.weightKind = DecoderWeight::kGiven;
      arguments.weight = inputs[kDecoderWeight];
      setBase(kBase);
      break;
    }
    case OperatorKind::kHead: break;  // has arguments of its own
  }
  return arguments;
}

}  // namespace fade
