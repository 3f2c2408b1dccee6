#include "log.h"

#include <atomic>
#include <cstdio>
#include <string>

namespace fade::tensorrt {
namespace {

using LoggerSource = nvinfer1::ILogger* (*)() noexcept;

std::atomic<nvinfer1::ILoggerFinder*> loggerFinder{nullptr};
std::atomic<LoggerSource> loggerSource{nullptr};

nvinfer1::ILogger* logger() noexcept {
  if (nvinfer1::ILoggerFinder* const finder = loggerFinder) {
    try {
      if (nvinfer1::ILogger* const found = finder->findLogger()) return found;
    } catch (...) {  // as good as none
    }
  }
  LoggerSource const source = loggerSource;
  return source == nullptr ? nullptr : source();
}

}  // namespace

void setLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept { loggerFinder = finder; }

void setLoggerSource(nvinfer1::ILogger* (*source)() noexcept) noexcept { loggerSource = source; }

void logError(char const* layer, char const* message) noexcept {
  try {
    std::string const line = "fade: " + std::string(layer) + (*layer == '\0' ? "" : ": ") + message;
    if (nvinfer1::ILogger* const found = logger()) {
      found->log(nvinfer1::ILogger::Severity::kERROR, line.c_str());
    } else {
      std::fprintf(stderr, "%s\n", line.c_str());
    }
  } catch (...) {  // no memory for the line: the caller's status still tells that something failed
  }
}

}  // namespace fade::tensorrt
