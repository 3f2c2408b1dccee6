#include "reference.h"

#include <cmath>
#include <cstring>
#include <limits>

namespace fade::tests {
namespace {

double sigmoid(double x) { return 1.0 / (1.0 + std::exp(-x)); }

// The K*K weights of one output pixel; planes of `kernels` and of the low-resolution `logits` lie apart as given.
Values tapsOf(Values const& kernels, int64_t first, int64_t plane, Values const& logits, int64_t low, int64_t lowPlane,
              int64_t count, bool softmax) {
  Values taps(static_cast<size_t>(count));
  for (int64_t k = 0; k < count; ++k) {
    taps[k] = kernels[first + k * plane] + (logits.empty() ? 0.0 : logits[low + k * lowPlane]);
  }
  if (!softmax) return taps;
  double most = -std::numeric_limits<double>::infinity(), sum = 0;
  for (double tap : taps) most = std::max(most, tap);
  for (double& tap : taps) sum += tap = std::exp(tap - most);
  for (double& tap : taps) tap /= sum;
  return taps;
}

struct Sum {
  double value = 0, magnitude = 0;
  void add(double term) { value += term, magnitude += std::fabs(term); }
  void add(Sum const& other, double factor) {
    value += factor * other.value, magnitude += std::fabs(factor) * other.magnitude;
  }
};

Sum reassembled(Values const& decoder, int64_t channel, int64_t height, int64_t width, int64_t y, int64_t x,
                int64_t size, Values const& taps) {
  Sum sum;
  for (int64_t i = 0; i < size; ++i) {
    for (int64_t j = 0; j < size; ++j) {
      int64_t const row = y + i - size / 2, column = x + j - size / 2;
      if (row < 0 || row >= height || column < 0 || column >= width) continue;
      sum.add(taps[i * size + j] * decoder[(channel * height + row) * width + column]);
    }
  }
  return sum;
}

}  // namespace

Expected expected(UpsampleArguments const& a, UpsampleValues const& values) {
  int64_t const s = a.scale, low = a.height * a.width, plane = low * s * s, taps = a.kernelSize * a.kernelSize;
  Expected result;
  for (int64_t n = 0; n < a.batch; ++n) {
    for (int64_t c = 0; c < a.channels; ++c) {
      int64_t const group = c / (a.channels / a.groups);
      for (int64_t y = 0; y < a.height * s; ++y) {
        for (int64_t x = 0; x < a.width * s; ++x) {
          int64_t const at = y * a.width * s + x, lowAt = y / s * a.width + x / s;
          Sum sum;
          for (int64_t t = 0; t < a.terms; ++t) {
            int64_t const term = n * a.terms + t;
            Values const weights = tapsOf(values.kernels, (term * a.groups + group) * taps * plane + at, plane,
                                          values.decoderLogits, term * taps * low + lowAt, low, taps, a.softmax);
            double factor = 1;
            if (a.weightKind != DecoderWeight::kOne) factor = values.weight[term * low + lowAt];
            if (a.weightKind == DecoderWeight::kOneMinusSigmoid) factor = 1 - sigmoid(factor);
            sum.add(reassembled(values.decoder, term * a.channels + c, a.height, a.width, y / s, x / s, a.kernelSize,
                                weights),
                    factor);
          }
          int64_t const out = (n * a.channels + c) * plane + at;
          if (a.encoder != nullptr) sum.add(sigmoid(values.weight[n * low + lowAt]) * values.encoder[out]);
          if (a.base != nullptr) {
            sum.add(values.base[n * a.baseStrides[0] + c * a.baseStrides[1] + y * a.baseStrides[2] + x * a.baseStrides[3]]);
          }
          result.value.push_back(sum.value);
          result.magnitude.push_back(sum.magnitude);
        }
      }
    }
  }
  return result;
}

Expected expected(HeadArguments const& a, HeadValues const& values) {
  int64_t const s = a.scale, low = a.height * a.width, plane = low * s * s, taps = a.kernelSize * a.kernelSize;
  int64_t const channels = a.encoderChannels, columns = 4 * channels + 3;
  size_t const count = static_cast<size_t>(a.batch * a.classes * plane);
  Expected result{Values(count), Values(count)};
  for (int64_t n = 0; n < a.batch; ++n) {
    for (int64_t at = 0; at < plane; ++at) {
      int64_t const y = at / (a.width * s) / s, x = at % (a.width * s) / s, lowAt = y * a.width + x;
      double gates[4] = {0, 0, 0, 1};
      Values weights[3];
      for (int64_t t = 0; t < 3; ++t) {
        gates[t] = sigmoid(values.gateLogits[(n * 3 + t) * low + lowAt]);
        weights[t] = tapsOf(values.encoderLogits, (n * 3 + t) * taps * plane + at, plane, values.decoderLogits,
                            (n * 3 + t) * taps * low + lowAt, low, taps, true);
      }
      std::vector<Sum> hidden(static_cast<size_t>(a.hiddenChannels));
      for (int64_t e = 0; e < a.hiddenChannels; ++e) {
        Sum& sum = hidden[e];
        sum.add(values.encoderBias[e]);
        for (int64_t t = 0; t < 4; ++t) {
          for (int64_t c = 0; c < channels; ++c) {
            sum.add(values.encoderWeight[e * columns + t * channels + c] * gates[t] *
                    values.encoder[(n * channels + c) * plane + at]);
          }
        }
        for (int64_t t = 0; t < 3; ++t) {
          sum.add(values.encoderWeight[e * columns + 4 * channels + t] * gates[t]);
          sum.add(reassembled(values.decoder[t], n * a.decoderChannels[t] + e, a.height, a.width, y, x, a.kernelSize,
                              weights[t]),
                  1 - gates[t]);
        }
        if (sum.value < 0) sum.value = 0;
      }
      for (int64_t m = 0; m < a.classes; ++m) {
        Sum sum;
        sum.add(values.classBias[m]);
        for (int64_t e = 0; e < a.hiddenChannels; ++e) sum.add(hidden[e], values.classWeight[m * a.hiddenChannels + e]);
        size_t const out = static_cast<size_t>((n * a.classes + m) * plane + at);
        result.value[out] = sum.value;
        result.magnitude[out] = sum.magnitude;
      }
    }
  }
  return result;
}

float floatFromHalf(uint16_t bits) {
  int const exponent = bits >> 10 & 31, mantissa = bits & 1023;
  double value = exponent == 0 ? std::ldexp(mantissa, -24) : std::ldexp(1024 + mantissa, exponent - 25);
  if (exponent == 31) value = mantissa == 0 ? std::numeric_limits<double>::infinity() : std::nan("");
  return static_cast<float>(bits & 0x8000 ? -value : value);
}

uint16_t halfFromFloat(float value) {
  uint16_t const sign = std::signbit(value) ? 0x8000 : 0;
  double const magnitude = std::fabs(static_cast<double>(value));
  if (std::isnan(value)) return sign | 0x7e00;
  if (magnitude >= 65520) return sign | 0x7c00;
  int exponent = -14;
  if (magnitude >= std::ldexp(1, -14)) std::frexp(magnitude, &exponent), --exponent;
  // Whole units of the last place; a carry into the exponent comes out right by itself.
  int const units = static_cast<int>(std::nearbyint(std::ldexp(magnitude, 10 - exponent)));
  return static_cast<uint16_t>(sign | (units + (exponent + 14) * 1024));
}

}  // namespace fade::tests
