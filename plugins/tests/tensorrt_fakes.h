// Stand-ins for what TensorRT hands to a plugin, so that a harness can drive one without TensorRT.
#pragma once

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "NvInfer.h"

namespace fade::tests {

// Keeps what is logged.
class Logger final : public nvinfer1::ILogger {
 public:
  void log(Severity severity, nvinfer1::AsciiChar const* message) noexcept override {
    if (severity <= Severity::kERROR) lines.emplace_back(message);
  }
  std::vector<std::string> lines;
};

class LoggerFinder final : public nvinfer1::ILoggerFinder {
 public:
  explicit LoggerFinder(Logger* logger) : logger_(logger) {}
  nvinfer1::ILogger* findLogger() override { return logger_; }

 private:
  Logger* logger_;
};

// The size of a dimension: known while an engine is built, or not. The value is kept in both cases.
class Expression final : public nvinfer1::IDimensionExpr {
 public:
  Expression(bool constant, int64_t value) : content_(constant, value) { mImpl = &content_; }
  int64_t value() const { return content_.value; }

 private:
  struct Content final : nvinfer1::apiv::VDimensionExpr {
    Content(bool isKnown, int64_t v) : constant(isKnown), value(v) {}
    bool isConstant() const override { return constant; }
    int64_t getConstantValue() const override { return constant ? value : INT64_MIN; }
    bool isSizeTensor() const override { return false; }
    bool constant;
    int64_t value;
  };
  Content content_;
};

class ExpressionBuilder final : public nvinfer1::IExprBuilder {
 public:
  ExpressionBuilder() { mImpl = &content_; }
  Expression const* unknown(int64_t value) { return content_.keep(false, value); }

 private:
  struct Content final : nvinfer1::apiv::VExprBuilder {
    Expression const* keep(bool constant, int64_t value) {
      kept.push_back(std::make_unique<Expression>(constant, value));
      return kept.back().get();
    }
    nvinfer1::IDimensionExpr const* constant(int64_t value) override { return keep(true, value); }
    nvinfer1::IDimensionExpr const* operation(nvinfer1::DimensionOperation operation,
                                              nvinfer1::IDimensionExpr const& first,
                                              nvinfer1::IDimensionExpr const& second) override {
      int64_t const a = static_cast<Expression const&>(first).value();
      int64_t const b = static_cast<Expression const&>(second).value();
      bool const known = first.isConstant() && second.isConstant();
      switch (operation) {
        case nvinfer1::DimensionOperation::kPROD: return keep(known, a * b);
        case nvinfer1::DimensionOperation::kFLOOR_DIV: return keep(known, a / b);
        default: return nullptr;  // no other one is expected
      }
    }
    nvinfer1::IDimensionExpr const* declareSizeTensor(int32_t, nvinfer1::IDimensionExpr const&,
                                                      nvinfer1::IDimensionExpr const&) override {
      return nullptr;
    }
    std::vector<std::unique_ptr<Expression>> kept;
  };
  Content content_;
};

class ResourceContext final : public nvinfer1::IPluginResourceContext {
 public:
  nvinfer1::IGpuAllocator* getGpuAllocator() const noexcept override { return nullptr; }
  nvinfer1::IErrorRecorder* getErrorRecorder() const noexcept override { return nullptr; }
};

}  // namespace fade::tests
