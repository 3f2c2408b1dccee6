// From a node's call to the kernels' arguments, on whatever device their pointers are.
#pragma once

#include "custom_op.h"
#include "fade_cpu.h"

namespace fade {

// Of FadeReassemble, FadeUpsample, FadeUpsampleAdd or FadeAccumulate.
UpsampleArguments upsampleArguments(Call const& call);

}  // namespace fade
