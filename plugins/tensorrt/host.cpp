#include "host.h"

#include <dlfcn.h>

#include <cstdlib>

namespace fade::tensorrt {
namespace {

// The names under which a program has them, however it has loaded them.
constexpr char const* kLibraries[] = {"libnvinfer.so.10", "libnvinfer.so.11",
                                      "libtensorrt_rtx.so.1"};
// getInferLibVersion() counts 100 times the minor version and 10000 times the major one, whose
// first is 10; TensorRT-RTX counts from 1.
constexpr int32_t kMajor = 10000, kFirst = 10 * kMajor;
// TensorRT-RTX has TensorRT 11's interfaces; an older one than this has not been tried.
constexpr int32_t kLowestRtx = 10700, kOfRtx = 11;

template <typename Function>
Function symbol(void* library, char const* name) {
  return reinterpret_cast<Function>(dlsym(library, name));
}

int32_t versionOf(void* library) {
  auto const version = symbol<int32_t (*)()>(library, "getInferLibVersion");
  return version == nullptr ? 0 : version();
}

bool fits(int32_t version) {
  if (version < kFirst) return headersVersion() / kMajor == kOfRtx && version >= kLowestRtx;
  return headersVersion() / kMajor == version / kMajor;
}

std::string textOf(int32_t version) {
  return (version < kFirst ? "TensorRT-RTX " : "TensorRT ") + std::to_string(version / kMajor) +
         "." + std::to_string(version / 100 % 100);
}

std::string refusal(int32_t version) {
  return "this library is built with the headers of " + textOf(headersVersion()) +
         " and does not fit " + textOf(version) +
         ": build it with TENSORRT_ROOT naming the headers of that version" +
         (version < kFirst ? " (for TensorRT-RTX 1.7 and newer, those of TensorRT 11)" : "");
}

// The interfaces of `library`, if it is loaded and fits; its version goes to `misfit` if it
// doesn't.
void addHost(void* library, std::vector<Host>& found, int32_t& misfit) {
  int32_t const version = library == nullptr ? 0 : versionOf(library);
  if (version == 0) return;
  if (!fits(version)) {
    misfit = version;
    return;
  }
  auto const registry =
      symbol<nvinfer1::IPluginRegistry* (*)() noexcept>(library, "getPluginRegistry");
  auto const logger = symbol<nvinfer1::ILogger* (*)() noexcept>(library, "getLogger");
  if (registry != nullptr && registry() != nullptr) found.push_back({registry(), logger});
}

}  // namespace

std::vector<Host> hosts(std::string& misfit) {
  std::vector<Host> found;
  int32_t other = 0;
  for (char const* const name : kLibraries) {
    addHost(dlopen(name, RTLD_LAZY | RTLD_NOLOAD), found, other);
  }
  char const* const named = std::getenv("FADE_TENSORRT_LIBRARY");
  if (found.empty() && named != nullptr) {
    addHost(dlopen(named, RTLD_LAZY | RTLD_GLOBAL), found, other);
  }
  if (found.empty() && other != 0) misfit = refusal(other);
  return found;
}

std::string refusalOf(void const* address) {
  Dl_info place{};
  if (dladdr(address, &place) == 0 || place.dli_fname == nullptr) return {};
  void* const library = dlopen(place.dli_fname, RTLD_LAZY | RTLD_NOLOAD);
  if (library == nullptr) return {};
  int32_t const version = versionOf(library);
  dlclose(library);
  return version == 0 || fits(version) ? "" : refusal(version);
}

int32_t headersVersion() { return static_cast<int32_t>(NV_TENSORRT_VERSION); }

}  // namespace fade::tensorrt
