// The TensorRT of this process, found without linking one.
//
// Plugins look alike to every TensorRT since 10.0, but registries, loggers and what finds these
// have other tables of functions in TensorRT 11 than in 10. So nothing of them is called before it
// is known that they are of the version that the headers were.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "NvInferRuntime.h"

namespace fade::tensorrt {

// A TensorRT library in this process that has the interfaces of the headers.
struct Host {
  nvinfer1::IPluginRegistry* registry;
  nvinfer1::ILogger* (*logger)() noexcept;
};

// Every one that has been loaded, or, if there is none, the one that the environment variable
// FADE_TENSORRT_LIBRARY names: for a program that loads TensorRT after this library. Where there
// are none but such that don't fit, `misfit` says so.
std::vector<Host> hosts(std::string& misfit);

// Nothing where the code at `address` is of a TensorRT that has the interfaces of the headers, or
// of no TensorRT; else what is wrong and what to do.
std::string refusalOf(void const* address);

// Version of the headers: 101600 is 10.16.0.
int32_t headersVersion();

}  // namespace fade::tensorrt
