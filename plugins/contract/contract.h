// The operators of domain `fade`, version 1, as fade_deploy/contract.py defines them, and the check
// of a node against them. tests/plugins holds the table to that file. Knows no runtime: every
// front-end of the kernels shares it.
#pragma once

#include <array>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <vector>

namespace fade {

inline constexpr char const* kDomain = "fade";
inline constexpr int32_t kVersion = 1;

enum class OperatorKind { kReassemble, kUpsample, kAccumulate, kUpsampleAdd, kHead };

struct Attributes {
  int32_t kernelSize = 5, scale = 2, groups = 1, terms = 1;
};

// One dimension of an input as the contract writes it: "4*C+3" is 4 C + 3, "sH" is scale H, "N or
// 1", "E or more".
struct Dimension {
  std::string text;
  int64_t factor = 1, addend = 0;
  char symbol = '\0';  // one of N C H W E M
  bool orOne = false, orMore = false;
};

struct Input {
  std::string name;
  std::string text;  // "[N,C,H,W]"
  std::vector<Dimension> dimensions;
};

// An operator with its attributes fixed: one name of a node.
struct NodeType {
  OperatorKind kind;
  Attributes attributes;
  std::string name;
  std::vector<std::string_view> attributeNames;
  std::vector<Input> inputs;
  std::vector<Dimension> output;
};

int64_t attributeValue(Attributes const& attributes, std::string_view name);

// "kernel_size 5, scale 2".
std::string attributesText(NodeType const& type);

// Every name that the libraries register: K in 1 3 5 7, scale in 1 2 4, groups and terms from 1 to
// 4, which the contract leaves open. A node beyond runs from its function body.
std::vector<NodeType> allNodeTypes();

// Whether a kernel computes the operator on a GPU. FadeHead has none: it runs there as what it is
// made of, whose convolutions have tensor cores.
bool runsOnGpu(OperatorKind kind);

// The operators that a library offers, their inputs and attributes, one to a line, for the test
// that holds this table to contract.py.
std::string contractText(bool (*offers)(OperatorKind));

// What a user gave and what was expected, on one line.
class InvalidNode : public std::invalid_argument {
 public:
  using std::invalid_argument::invalid_argument;
};

inline constexpr int64_t kUnknown = -1;  // a dimension that is dynamic while the model is loaded
using Shape = std::vector<int64_t>;

// Checks the shapes of a node's inputs and gives back the shape of its output; what is kUnknown
// fits everything and leaves the output kUnknown where it matters. Throws InvalidNode, also where a
// size would overflow 64 bits.
std::array<int64_t, 4> outputShape(NodeType const& type, std::vector<Shape> const& inputs);

}  // namespace fade
