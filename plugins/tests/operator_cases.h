// The operators by their formulas in fade_deploy/contract.py, one output at a time, and calls of them: the oracle of
// the front-ends' tests. Knows nothing of the kernels' arguments.
#pragma once

#include <random>
#include <string>
#include <vector>

#include "contract.h"
#include "reference.h"

namespace fade::tests {

// Dense; read with a broadcast along dimensions of 1.
struct Tensor {
  Shape shape;
  Values values;
};

struct OperatorCase {
  std::string name;  // of the node type
  int64_t batch, channels, height, width;
  bool wholeBase = true;  // of FadeAccumulate; else one value
};

// Every operator, K, scale, odd sizes, and channels that are no multiple of a vector.
std::vector<OperatorCase> operatorCases();
std::string text(OperatorCase const& c);

// Normal values; logits are wider, for the softmax to have something to do.
std::vector<Tensor> inputsOf(OperatorCase const& c, std::mt19937& random);

Expected expected(NodeType const& type, std::vector<Tensor> const& inputs);

}  // namespace fade::tests
