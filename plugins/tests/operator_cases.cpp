#include "operator_cases.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tensorrt_library.h"

namespace fade::tests {
namespace {

using Taps = Values;

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

double at(Tensor const& tensor, int64_t n, int64_t c, int64_t y, int64_t x) {
  int64_t const place[] = {n, c, y, x};
  int64_t index = 0;
  for (size_t axis = 0; axis < 4; ++axis) {
    index = index * tensor.shape[axis] + (tensor.shape[axis] == 1 ? 0 : place[axis]);
  }
  return tensor.values[static_cast<size_t>(index)];
}

Taps softmax(Taps taps) {
  double most = -std::numeric_limits<double>::infinity(), sum = 0;
  for (double const tap : taps) most = std::max(most, tap);
  for (double& tap : taps) sum += tap = std::exp(tap - most);
  for (double& tap : taps) tap /= sum;
  return taps;
}

struct Sum {
  double value = 0, magnitude = 0;
  void add(double term) { value += term, magnitude += std::fabs(term); }
};

// Adds factor * R(decoder, taps) of one output pixel, whose decoder pixel is (y, x).
void reassemble(Sum& sum, double factor, Tensor const& decoder, int64_t n, int64_t c, int64_t y, int64_t x,
                Taps const& taps, int64_t size) {
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t j = 0; j < size; ++j) {
      int64_t const row = y + i - size / 2, column = x + j - size / 2;
      if (row < 0 || row >= decoder.shape[2] || column < 0 || column >= decoder.shape[3]) continue;
      sum.add(factor * taps[static_cast<size_t>(i * size + j)] * at(decoder, n, c, row, column));
    }
  }
}

// One output.
Sum valueOf(NodeType const& type, std::vector<Tensor> const& in, int64_t channels, int64_t n, int64_t c, int64_t y,
            int64_t x) {
  Attributes const& a = type.attributes;
  int64_t const size = a.kernelSize, low = y / a.scale, across = x / a.scale;
  auto const taps = [&](Tensor const& tensor, int64_t first, int64_t row, int64_t column) {
    Taps values;
    for (int64_t k = 0; k < size * size; ++k) values.push_back(at(tensor, n, first + k, row, column));
    return values;
  };
  Sum sum;
  switch (type.kind) {
    case OperatorKind::kReassemble: {
      int64_t const group = c / (channels / a.groups);
      reassemble(sum, 1, in[0], n, c, low, across, taps(in[1], group * size * size, y, x), size);
      break;
    }
    case OperatorKind::kUpsample: {
      double const gate = sigmoid(at(in[3], n, 0, low, across));
      sum.add(gate * at(in[2], n, c, y, x));
      reassemble(sum, 1 - gate, in[0], n, c, low, across, softmax(taps(in[1], 0, y, x)), size);
      break;
    }
    case OperatorKind::kUpsampleAdd: {
      double const gate = sigmoid(at(in[4], n, 0, low, across));
      Taps logits = taps(in[1], 0, y, x);
      Taps const more = taps(in[2], 0, low, across);
      for (size_t k = 0; k < logits.size(); ++k) logits[k] += more[k];
      sum.add(gate * at(in[3], n, c, y, x));
      sum.add(at(in[5], n, c, y, x));
      reassemble(sum, 1 - gate, in[0], n, c, low, across, softmax(logits), size);
      break;
    }
    case OperatorKind::kAccumulate: {
      sum.add(at(in[2], n, c, y, x));
      for (int64_t t = 0; t < a.terms; ++t) {
        reassemble(sum, at(in[3], n, t, low, across), in[0], n, t * channels + c, low, across,
                   softmax(taps(in[1], t * size * size, y, x)), size);
      }
      break;
    }
    case OperatorKind::kHead: break;  // has no kernel on a GPU
  }
  return sum;
}

}  // namespace

std::vector<OperatorCase> operatorCases() {
  std::vector<OperatorCase> cases;
  for (std::string const name : {"FadeReassemble", "FadeUpsample", "FadeAccumulate", "FadeUpsampleAdd"}) {
    cases.push_back({name, 1, 1, 1, 1});
    cases.push_back({name, 2, 19, 5, 7});
    cases.push_back({name, 1, 34, 16, 16});
    cases.push_back({name, 3, 8, 9, 40});
    bool const hasLanes = name == "FadeReassemble" || name == "FadeAccumulate";
    for (std::string const attributes : {"_k1_s1", "_k1_s2", "_k1_s4", "_k3_s1", "_k3_s2", "_k3_s4", "_k5_s1", "_k5_s4",
                                         "_k7_s1", "_k7_s2", "_k7_s4"}) {
      std::string const lane = name == "FadeReassemble" ? "_g" : "_t";
      if (!hasLanes) cases.push_back({name + attributes, 2, 7, 4, 11});
      for (char const* const lanes : {"1", "3"}) {
        if (hasLanes) cases.push_back({name + attributes + lane + lanes, 2, 9, 4, 11});
      }
    }
  }
  cases.push_back({"FadeReassemble_k5_s2_g4", 1, 12, 8, 24});
  cases.push_back({"FadeAccumulate_k5_s2_t3", 2, 11, 11, 17});
  cases.push_back({"FadeAccumulate_k5_s2_t3", 1, 256, 16, 16});
  cases.push_back({"FadeAccumulate", 1, 9, 6, 20, false});
  cases.push_back({"FadeAccumulate_k5_s2_t2", 2, 5, 13, 3, false});
  return cases;
}

std::string text(OperatorCase const& c) {
  return c.name + " N" + std::to_string(c.batch) + " C" + std::to_string(c.channels) + " H" + std::to_string(c.height) +
         " W" + std::to_string(c.width) + (c.wholeBase ? "" : ", base of one value");
}

std::vector<Tensor> inputsOf(OperatorCase const& c, std::mt19937& random) {
  NodeType const& type = nodeType(c.name);
  std::normal_distribution<double> distribution;
  std::vector<Tensor> tensors;
  for (Shape const& shape : shapesOf(type, {c.batch, c.channels, c.height, c.width}, c.wholeBase)) {
    bool const isLogits = type.inputs[tensors.size()].name.find("logits") != std::string::npos;
    int64_t count = 1;
    for (int64_t const size : shape) count *= size;
    tensors.push_back({shape, Values(static_cast<size_t>(count))});
    for (double& value : tensors.back().values) value = distribution(random) * (isLogits ? 2 : 1);
  }
  return tensors;
}

Expected expected(NodeType const& type, std::vector<Tensor> const& inputs) {
  std::vector<Shape> shapes;
  for (Tensor const& input : inputs) shapes.push_back(input.shape);
  std::array<int64_t, 4> const size = outputShape(type, shapes);
  Expected result;
  for (int64_t n = 0; n < size[0]; ++n) {
    for (int64_t c = 0; c < size[1]; ++c) {
      for (int64_t y = 0; y < size[2]; ++y) {
        for (int64_t x = 0; x < size[3]; ++x) {
          Sum const sum = valueOf(type, inputs, size[1], n, c, y, x);
          result.value.push_back(sum.value);
          result.magnitude.push_back(sum.magnitude);
        }
      }
    }
  }
  return result;
}

}  // namespace fade::tests
