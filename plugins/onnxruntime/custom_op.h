// One node type of the contract as a custom operator of ONNX Runtime, whatever computes it: names,
// types, attributes, shapes, errors. A library adds its provider and how it computes; nothing here
// does arithmetic on tensors.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "contract.h"
#include "ort_api.h"
#include "upsample_arguments.h"

namespace fade {

// The inputs and the output of one run of a node, their shapes checked against the contract; the
// output is not empty.
struct Call {
  NodeType const& type;
  ort::ElementType elementType;
  std::vector<Shape> const& shapes;  // of the inputs
  std::vector<void const*> const& inputs;
  std::array<int64_t, 4> const& outputShape;
  void* output;
  ort::Api const& api;
  OrtKernelContext* context;
  OrtMemoryInfo const* memory;  // of the CPU, for scratch memory
};

// The kernels' arguments of every operator but FadeHead.
UpsampleArguments upsampleArguments(Call const& call);

// What differs between the libraries.
struct Provider {
  char const* name;                // "CPUExecutionProvider"
  bool (*computes)(OperatorKind);  // other operators run from their bodies
  void (*compute)(Call const&);    // throws std::exception
};

// Adds every node type that `provider` computes to the options. For the exported RegisterCustomOps.
OrtStatus* registerNodeTypes(OrtSessionOptions* options, ort::ApiBase const* base,
                             Provider const& provider) noexcept;

// Throws what `status` says, if it is an error, and releases it.
void check(ort::Api const& api, OrtStatus* status);

}  // namespace fade
