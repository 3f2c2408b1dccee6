// Messages through TensorRT's logger.
#pragma once

#include <exception>

#include "NvInferRuntime.h"

namespace fade::tensorrt {

// Where messages go from now on: a TensorRT that loads this library gives one. Null: standard
// error.
void setLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept;

// The same for a TensorRT that this library registered itself with.
void setLoggerSource(nvinfer1::ILogger* (*source)() noexcept) noexcept;

// An error on one line, through the logger of the TensorRT that calls, on standard error where
// there is none. `layer` is TensorRT's name of the node, empty where it isn't one.
void logError(char const* layer, char const* message) noexcept;

// Runs `action`; what it throws is logged, and then `failed` is the result. Every entry that
// TensorRT calls is made of this: an exception must not leave it.
template <typename Result, typename Action>
Result guarded(char const* layer, Result failed, Action const& action) noexcept {
  try {
    return action();
  } catch (std::exception const& error) {
    logError(layer, error.what());
  } catch (...) {
    logError(layer, "failed for an unknown reason");
  }
  return failed;
}

}  // namespace fade::tensorrt
