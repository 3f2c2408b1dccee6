// From a node and its tensors to the kernels' arguments, on whatever device the pointers are.
#pragma once

#include <array>
#include <vector>

#include "contract.h"
#include "fade_cpu.h"

namespace fade {

// Of FadeReassemble, FadeUpsample, FadeUpsampleAdd or FadeAccumulate: the shapes of the inputs,
// checked by outputShape(), what that gave, and the tensors.
UpsampleArguments upsampleArguments(NodeType const& type, DataType dataType,
                                    std::vector<Shape> const& shapes, void const* const* inputs,
                                    std::array<int64_t, 4> const& outputShape, void* output);

}  // namespace fade
