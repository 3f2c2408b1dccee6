// libfade_tensorrt as a harness sees it, and the account of its checks.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "contract.h"
#include "tensorrt_fakes.h"

namespace fade::tests {

using Fields = std::vector<nvinfer1::PluginField>;
using PluginPointer = std::unique_ptr<nvinfer1::IPluginV3>;

// The library under test, loaded; ends the program where it can't be.
class Library {
 public:
  explicit Library(char const* path);

  nvinfer1::IPluginCreatorInterface* const* (*getCreators)(int32_t&) = nullptr;
  void (*setLoggerFinder)(nvinfer1::ILoggerFinder*) = nullptr;
  int32_t (*version)() = nullptr;
  int32_t (*headers)() = nullptr;
  char const* (*operators)() = nullptr;

  // Ends the program where there is none of that name.
  nvinfer1::IPluginCreatorV3One& creator(std::string const& name) const;
  // With the attributes that the name means; ends the program where it gives none.
  PluginPointer plugin(NodeType const& type) const;

 private:
  std::vector<nvinfer1::IPluginCreatorV3One*> creators_;
};

template <typename Capability>
Capability& capability(nvinfer1::IPluginV3& plugin, nvinfer1::PluginCapabilityType type) {
  return *static_cast<Capability*>(plugin.getCapabilityInterface(type));
}
inline nvinfer1::IPluginV3OneBuild& building(PluginPointer const& plugin) {
  return capability<nvinfer1::IPluginV3OneBuild>(*plugin, nvinfer1::PluginCapabilityType::kBUILD);
}
inline nvinfer1::IPluginV3OneRuntime& running(PluginPointer const& plugin) {
  return capability<nvinfer1::IPluginV3OneRuntime>(*plugin, nvinfer1::PluginCapabilityType::kRUNTIME);
}

// One line for each check.
class Account {
 public:
  explicit Account(Logger& logger) : logger_(logger) {}
  // Right, and nothing was logged.
  void check(bool right, std::string const& claim);
  // Refused, and the one line logged has `told` in it.
  void refused(bool isRefused, std::string const& claim, std::string const& told);
  int failures() const { return failures_; }
  int checks() const { return checks_; }

 private:
  void print(bool right, std::string const& claim, std::string const& told);
  Logger& logger_;
  int failures_ = 0, checks_ = 0;
};

// The type of a node by its name; ends the program where there is none.
NodeType const& nodeType(std::string const& name);
// The attributes of a type as fields of one int32 each; they point into `values`.
Fields fieldsOf(NodeType const& type, std::array<int32_t, 3>& values);
// The inputs of a type for N, C, H, W; the base of FadeAccumulate is whole, or of one value.
std::vector<Shape> shapesOf(NodeType const& type, std::array<int64_t, 4> const& sizes, bool wholeBase);
nvinfer1::Dims dimsOf(Shape const& shape);
nvinfer1::PluginTensorDesc tensor(Shape const& shape, nvinfer1::DataType type = nvinfer1::DataType::kFLOAT);

// The parts of the harness.
void checkLibrary(Library const& library, Account& account);
void checkAttributes(Library const& library, Account& account);
void checkBuilding(Library const& library, Account& account);
void checkRunning(Library const& library, Account& account);
void checkReference(Account& account);
void checkOnGpu(Library const& library, Account& account);
void checkWithoutLogger(Library const& library, Account& account);  // and leaves it so

}  // namespace fade::tests
