#include "contract.h"

#include <cstddef>
#include <map>
#include <optional>
#include <utility>

namespace fade {
namespace {

constexpr int32_t kKernelSizes[] = {1, 3, 5, 7};
constexpr int32_t kScales[] = {1, 2, 4};
constexpr int32_t kMostLanes = 4;  // of groups or terms: every name costs each session 0.02 ms

struct Definition {
  OperatorKind kind;
  char const* name;
  std::vector<std::pair<char const*, char const*>> inputs;
  char const* output;
  std::vector<std::string_view> attributes;
};

std::vector<Definition> const& definitions() {
  static std::vector<Definition> const table = {
      {OperatorKind::kReassemble,
       "FadeReassemble",
       {{"features", "[N,C,H,W]"}, {"kernels", "[N,G*K*K,sH,sW]"}},
       "[N,C,sH,sW]",
       {"kernel_size", "scale", "groups"}},
      {OperatorKind::kUpsample,
       "FadeUpsample",
       {{"decoder", "[N,C,H,W]"},
        {"kernel_logits", "[N,K*K,sH,sW]"},
        {"encoder", "[N,C,sH,sW]"},
        {"gate_logits", "[N,1,H,W]"}},
       "[N,C,sH,sW]",
       {"kernel_size", "scale"}},
      {OperatorKind::kAccumulate,
       "FadeAccumulate",
       {{"decoder", "[N,T*C,H,W]"},
        {"kernel_logits", "[N,T*K*K,sH,sW]"},
        {"base", "[N or 1,C or 1,sH or 1,sW or 1]"},
        {"decoder_weight", "[N,T,H,W]"}},
       "[N,C,sH,sW]",
       {"kernel_size", "scale", "terms"}},
      {OperatorKind::kUpsampleAdd,
       "FadeUpsampleAdd",
       {{"decoder", "[N,C,H,W]"},
        {"encoder_logits", "[N,K*K,sH,sW]"},
        {"decoder_logits", "[N,K*K,H,W]"},
        {"encoder", "[N,C,sH,sW]"},
        {"gate_logits", "[N,1,H,W]"},
        {"skip", "[N,C,sH,sW]"}},
       "[N,C,sH,sW]",
       {"kernel_size", "scale"}},
      {OperatorKind::kHead,
       "FadeHead",
       {{"first", "[N,E or more,H,W]"},
        {"second", "[N,E or more,H,W]"},
        {"third", "[N,E or more,H,W]"},
        {"encoder_logits", "[N,3*K*K,sH,sW]"},
        {"decoder_logits", "[N,3*K*K,H,W]"},
        {"gate_logits", "[N,3,H,W]"},
        {"encoder", "[N,C,sH,sW]"},
        {"encoder_weight", "[E,4*C+3]"},
        {"encoder_bias", "[E]"},
        {"class_weight", "[M,E]"},
        {"class_bias", "[M]"}},
       "[N,M,sH,sW]",
       {"kernel_size", "scale"}},
  };
  return table;
}

int64_t checkedProduct(int64_t a, int64_t b) {
  int64_t product = 0;
  if (__builtin_mul_overflow(a, b, &product))
    throw InvalidNode("the size of a fade operator's tensor exceeds 64 bits");
  return product;
}

bool dropEnding(std::string& text, std::string_view ending) {
  if (text.size() < ending.size() || text.substr(text.size() - ending.size()) != ending)
    return false;
  text.resize(text.size() - ending.size());
  return true;
}

Dimension parseDimension(std::string text, Attributes const& attributes) {
  Dimension dimension;
  dimension.text = text;
  dimension.orOne = dropEnding(text, " or 1");
  dimension.orMore = dropEnding(text, " or more");
  for (size_t i = 0; i < text.size(); ++i) {
    switch (char const letter = text[i]) {
      case '*':
        break;
      case '+':
        dimension.addend = text[++i] - '0';
        break;
      case 's':
        dimension.factor *= attributes.scale;
        break;
      case 'K':
        dimension.factor *= attributes.kernelSize;
        break;
      case 'G':
        dimension.factor *= attributes.groups;
        break;
      case 'T':
        dimension.factor *= attributes.terms;
        break;
      default:
        if (letter >= '0' && letter <= '9') {
          dimension.factor *= letter - '0';
        } else {
          dimension.symbol = letter;
        }
    }
  }
  return dimension;
}

std::vector<Dimension> parseShape(std::string_view text, Attributes const& attributes) {
  std::vector<Dimension> dimensions;
  text = text.substr(1, text.size() - 2);  // without its brackets
  while (true) {
    size_t const comma = text.find(',');
    dimensions.push_back(parseDimension(std::string(text.substr(0, comma)), attributes));
    if (comma == std::string_view::npos) return dimensions;
    text.remove_prefix(comma + 1);
  }
}

NodeType nodeType(Definition const& definition, Attributes const& attributes) {
  NodeType type{definition.kind, attributes, definition.name, definition.attributes, {}, {}};
  std::string suffix;
  bool tuned = true;
  for (std::string_view const name : definition.attributes) {
    int64_t const value = attributeValue(attributes, name);
    suffix += std::string("_") + name[0] + std::to_string(value);
    tuned = tuned && value == attributeValue(Attributes{}, name);
  }
  if (!tuned) type.name += suffix;
  for (auto const& [name, shape] : definition.inputs) {
    type.inputs.push_back({name, shape, parseShape(shape, attributes)});
  }
  type.output = parseShape(definition.output, attributes);
  return type;
}

std::string brackets(Shape const& shape) {
  std::string text = "[";
  for (size_t i = 0; i < shape.size(); ++i) {
    text +=
        (i > 0 ? "," : "") + (shape[i] == kUnknown ? std::string("?") : std::to_string(shape[i]));
  }
  return text + "]";
}

// The values of N, C, H, W, E and M that the inputs seen so far agree on.
class Symbols {
 public:
  // The smallest value a dimension may have, if its symbol is known.
  std::optional<int64_t> value(Dimension const& dimension) const {
    if (dimension.symbol == '\0') return dimension.factor + dimension.addend;
    auto const found = values_.find(dimension.symbol);
    if (found == values_.end()) return std::nullopt;
    return checkedProduct(found->second, dimension.factor) + dimension.addend;
  }

  // Whether `given` fits; learns the symbol where it is the first to have it.
  bool fits(Dimension const& dimension, int64_t given) {
    if (given == kUnknown) return true;
    if (given < 0) return false;
    if (std::optional<int64_t> const expected = value(dimension)) {
      return given == *expected || (dimension.orOne && given == 1) ||
             (dimension.orMore && given > *expected);
    }
    if (dimension.orOne || dimension.orMore) return true;  // another input tells
    int64_t const multiple = given - dimension.addend;
    if (multiple < 0 || multiple % dimension.factor != 0) return false;
    values_[dimension.symbol] = multiple / dimension.factor;
    return true;
  }

 private:
  std::map<char, int64_t> values_;
};

[[noreturn]] void refuse(NodeType const& type, Input const& input, Shape const& given,
                         Symbols const& symbols) {
  std::string numbers = "[";
  for (Dimension const& dimension : input.dimensions) {
    std::optional<int64_t> const value = symbols.value(dimension);
    if (numbers.size() > 1) numbers += ",";
    numbers += value ? std::to_string(*value) : "?";
    if (dimension.orOne) numbers += " or 1";
    if (dimension.orMore) numbers += " or more";
  }
  throw InvalidNode(type.name + ": " + input.name + " is " + brackets(given) + ", expected " +
                    input.text + " = " + numbers + "] for " + attributesText(type));
}

// What the shapes written in the table don't say.
void checkChannels(NodeType const& type, Symbols const& symbols) {
  // A number that isn't known is as good as one that fits.
  auto const channels = [&](char symbol) {
    return symbols.value({{}, 1, 0, symbol, false, false}).value_or(type.attributes.groups);
  };
  if (type.kind == OperatorKind::kReassemble && channels('C') % type.attributes.groups != 0) {
    throw InvalidNode(
        type.name + ": features has " + std::to_string(channels('C')) +
        " channels, expected a multiple of groups = " + std::to_string(type.attributes.groups));
  }
  if (type.kind == OperatorKind::kHead && (channels('C') == 0 || channels('E') == 0)) {
    throw InvalidNode(type.name + ": encoder has " + std::to_string(channels('C')) +
                      " channels and encoder_weight " + std::to_string(channels('E')) +
                      " rows, expected at least 1 of both");
  }
}

}  // namespace

int64_t attributeValue(Attributes const& attributes, std::string_view name) {
  if (name == "kernel_size") return attributes.kernelSize;
  if (name == "scale") return attributes.scale;
  return name == "groups" ? attributes.groups : attributes.terms;
}

std::string attributesText(NodeType const& type) {
  std::string text;
  for (std::string_view const name : type.attributeNames) {
    text += (text.empty() ? "" : ", ") + std::string(name) + " " +
            std::to_string(attributeValue(type.attributes, name));
  }
  return text;
}

std::vector<NodeType> allNodeTypes() {
  std::vector<NodeType> types;
  for (Definition const& definition : definitions()) {
    bool const hasLanes = definition.attributes.size() > 2;
    for (int32_t const kernelSize : kKernelSizes) {
      for (int32_t const scale : kScales) {
        for (int32_t lanes = 1; lanes <= (hasLanes ? kMostLanes : 1); ++lanes) {
          bool const areGroups = definition.kind == OperatorKind::kReassemble;
          types.push_back(nodeType(
              definition, {kernelSize, scale, areGroups ? lanes : 1, areGroups ? 1 : lanes}));
        }
      }
    }
  }
  return types;
}

bool runsOnGpu(OperatorKind kind) { return kind != OperatorKind::kHead; }

std::string contractText(bool (*offers)(OperatorKind)) {
  std::string text;
  for (Definition const& definition : definitions()) {
    if (!offers(definition.kind)) continue;
    text += definition.name;
    for (auto const& [name, shape] : definition.inputs)
      text += std::string(" ") + name + ":" + shape;
    text += std::string(" -> ") + definition.output;
    for (std::string_view const name : definition.attributes) {
      text += " " + std::string(name) + "=" + std::to_string(attributeValue(Attributes{}, name));
    }
    text += "\n";
  }
  return text;
}

std::array<int64_t, 4> outputShape(NodeType const& type, std::vector<Shape> const& inputs) {
  Symbols symbols;
  // Twice: "E or more" comes before the input that tells what E is.
  for (int pass = 0; pass < 2; ++pass) {
    for (size_t i = 0; i < type.inputs.size(); ++i) {
      Input const& input = type.inputs[i];
      bool fits = inputs[i].size() == input.dimensions.size();
      for (size_t axis = 0; fits && axis < inputs[i].size(); ++axis) {
        fits = symbols.fits(input.dimensions[axis], inputs[i][axis]);
      }
      if (!fits) refuse(type, input, inputs[i], symbols);
    }
  }
  checkChannels(type, symbols);
  std::array<int64_t, 4> output{};
  int64_t bytes = sizeof(float);
  for (size_t axis = 0; axis < output.size(); ++axis) {
    output[axis] = symbols.value(type.output[axis]).value_or(kUnknown);
    if (output[axis] > 0) bytes = checkedProduct(bytes, output[axis]);
  }
  return output;
}

}  // namespace fade
