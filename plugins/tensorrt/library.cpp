// libfade_tensorrt: what TensorRT calls when it loads plugins from a library, and the registration
// of one that was loaded by other means.
#include <atomic>
#include <cstring>
#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "creator.h"
#include "host.h"
#include "log.h"

namespace fade::tensorrt {
namespace {

// What this library has registered by itself, and where.
struct Registered {
  std::mutex mutex;
  std::vector<std::pair<nvinfer1::IPluginRegistry*, nvinfer1::IPluginCreatorInterface*>> creators;
};

// Kept for good, as all that a registry may hold on to: it ends after this library's statics.
Registered& registered() {
  static auto* const made = new Registered;
  return *made;
}

// Once, of a TensorRT that this library does not fit; on standard error, because its logger is one
// of the things that don't fit. Nothing where there is nothing to complain about.
void complain(std::string const& misfit) {
  static std::atomic<bool> told{false};
  if (!misfit.empty() && !told.exchange(true)) logError("", misfit.c_str());
}

// Asked for by getAllCreators(), because getCreator() logs an error where it finds none.
std::set<std::string> namesIn(nvinfer1::IPluginRegistry const& registry) {
  std::set<std::string> names;
  int32_t count = 0;
  nvinfer1::IPluginCreatorInterface* const* const given = registry.getAllCreators(&count);
  for (int32_t i = 0; given != nullptr && i < count; ++i) {
    if (std::strcmp(given[i]->getInterfaceInfo().kind, "PLUGIN CREATOR_V3ONE") != 0) continue;
    auto const* const creator = static_cast<nvinfer1::IPluginCreatorV3One const*>(given[i]);
    if (std::strcmp(creator->getPluginNamespace(), kDomain) == 0 &&
        std::strcmp(creator->getPluginVersion(), kPluginVersion) == 0) {
      names.insert(creator->getPluginName());
    }
  }
  return names;
}

// LD_PRELOAD, dlopen, and Triton's plugins= load a library without asking it for its plugins: it
// brings them to each TensorRT that is there. Names that are there already stay as they are.
void registerEverywhere() {
  std::lock_guard<std::mutex> const lock(registered().mutex);
  std::string misfit;
  for (Host const& host : hosts(misfit)) {
    setLoggerSource(host.logger);
    std::set<std::string> const present = namesIn(*host.registry);
    for (nvinfer1::IPluginCreatorInterface* const creator : creators()) {
      char const* const name = static_cast<Creator*>(creator)->getPluginName();
      if (present.count(name) == 0 && host.registry->registerCreator(*creator, kDomain)) {
        registered().creators.emplace_back(host.registry, creator);
      }
    }
  }
  complain(misfit);
}

// Where TensorRT itself loads the library it registers what getCreators() gives, and refuses a
// library whose plugins are registered already, though it was its own loading that did it.
void withdraw() {
  std::lock_guard<std::mutex> const lock(registered().mutex);
  for (auto const& [registry, creator] : registered().creators) {
    registry->deregisterCreator(*creator);
  }
  registered().creators.clear();
}

__attribute__((constructor)) void loaded() noexcept {
  guarded("", false, [] {
    registerEverywhere();
    return true;
  });
}

// Whether the caller at `address` is a TensorRT of other interfaces.
bool isRefused(void const* address) {
  std::string const misfit = refusalOf(address);
  complain(misfit);
  return !misfit.empty();
}

}  // namespace
}  // namespace fade::tensorrt

#define FADE_EXPORT extern "C" __attribute__((visibility("default")))

// TensorRT's loadLibrary() calls these two.
FADE_EXPORT nvinfer1::IPluginCreatorInterface* const* getCreators(int32_t& count) noexcept {
  using namespace fade::tensorrt;
  count = 0;
  void const* const caller = __builtin_return_address(0);
  return guarded<nvinfer1::IPluginCreatorInterface* const*>("", nullptr, [&] {
    static nvinfer1::IPluginCreatorInterface* const none[] = {nullptr};
    if (isRefused(caller)) return none;
    withdraw();
    count = static_cast<int32_t>(creators().size());
    return creators().data();
  });
}

FADE_EXPORT void setLoggerFinder(nvinfer1::ILoggerFinder* finder) noexcept {
  using namespace fade::tensorrt;
  void const* const caller = __builtin_return_address(0);
  guarded("", false, [&] {
    if (!isRefused(caller)) fade::tensorrt::setLoggerFinder(finder);
    return true;
  });
}

// Version of the operators.
FADE_EXPORT int32_t fade_tensorrt_version() { return fade::kVersion; }

// The operators, one to a line: "FadeX input:[N,C,H,W] ... -> [N,C,sH,sW] kernel_size=5 ...".
FADE_EXPORT char const* fade_tensorrt_operators() {
  static std::string const text = fade::contractText(fade::runsOnGpu);
  return text.c_str();
}

// Of which TensorRT the headers were: 101600 is 10.16.0.
FADE_EXPORT int32_t fade_tensorrt_headers() { return fade::tensorrt::headersVersion(); }
