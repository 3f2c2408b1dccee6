#include "upsample_arguments.h"

namespace fade {

UpsampleArguments upsampleArguments(Call const& call) {
  constexpr size_t kDecoder = 0,
                   kKernels = 1;  // of every operator, `features` of FadeReassemble among them
  Shape const& decoder = call.shapes[kDecoder];
  UpsampleArguments arguments;
  arguments.type =
      call.elementType == ort::ElementType::kFloat16 ? DataType::kFloat16 : DataType::kFloat32;
  arguments.batch = call.outputShape[0];
  arguments.channels = call.outputShape[1];
  arguments.height = decoder[2];
  arguments.width = decoder[3];
  arguments.kernelSize = call.type.attributes.kernelSize;
  arguments.scale = call.type.attributes.scale;
  arguments.groups = call.type.attributes.groups;
  arguments.terms = call.type.attributes.terms;
  arguments.decoder = call.inputs[kDecoder];
  arguments.kernels = call.inputs[kKernels];
  arguments.output = call.output;
  auto const setBase = [&](size_t input) {
    Shape const& shape = call.shapes[input];
    arguments.base = call.inputs[input];
    int64_t stride = 1;
    for (size_t axis = shape.size(); axis-- > 0;) {
      arguments.baseStrides[axis] = shape[axis] == 1 ? 0 : stride;
      stride *= shape[axis];
    }
  };
  switch (call.type.kind) {
    case OperatorKind::kReassemble: break;
    case OperatorKind::kUpsample: {
      enum { kEncoder = 2, kGateLogits };
      arguments.softmax = true;
      arguments.weightKind = DecoderWeight::kOneMinusSigmoid;
      arguments.weight = call.inputs[kGateLogits];
      arguments.encoder = call.inputs[kEncoder];
      break;
    }
    case OperatorKind::kUpsampleAdd: {
      enum { kDecoderLogits = 2, kEncoder, kGateLogits, kSkip };
      arguments.softmax = true;
      arguments.decoderLogits = call.inputs[kDecoderLogits];
      arguments.weightKind = DecoderWeight::kOneMinusSigmoid;
      arguments.weight = call.inputs[kGateLogits];
      arguments.encoder = call.inputs[kEncoder];
      setBase(kSkip);
      break;
    }
    case OperatorKind::kAccumulate: {
      enum { kBase = 2, kDecoderWeight };
      arguments.softmax = true;
      arguments.weightKind = DecoderWeight::kGiven;
      arguments.weight = call.inputs[kDecoderWeight];
      setBase(kBase);
      break;
    }
    case OperatorKind::kHead: break;  // has arguments of its own
  }
  return arguments;
}

}  // namespace fade
