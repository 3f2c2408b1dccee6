// What the library offers, and what makes a plugin of it.
#include <cstring>
#include <set>

#include "tensorrt_library.h"

namespace fade::tests {
namespace {

using nvinfer1::PluginField;
using nvinfer1::PluginFieldCollection;
using nvinfer1::PluginFieldType;
using nvinfer1::TensorRTPhase;

PluginPointer made(Library const& library, std::string const& name, Fields const& fields, TensorRTPhase phase) {
  PluginFieldCollection const collection{static_cast<int32_t>(fields.size()), fields.data()};
  return PluginPointer(library.creator(name).createPlugin("layer", &collection, phase));
}

// Both phases refuse the same.
void refuse(Library const& library, Account& account, std::string const& name, Fields const& fields,
            std::string const& claim, std::string const& told) {
  for (TensorRTPhase const phase : {TensorRTPhase::kBUILD, TensorRTPhase::kRUNTIME}) {
    std::string const where = phase == TensorRTPhase::kBUILD ? " while building" : " while loading an engine";
    account.refused(made(library, name, fields, phase) == nullptr, name + ", " + claim + where, told);
  }
}

bool isWhole(nvinfer1::IPluginV3& plugin, std::string const& name) {
  using nvinfer1::PluginCapabilityType;
  auto* const core =
      static_cast<nvinfer1::IPluginV3OneCore*>(plugin.getCapabilityInterface(PluginCapabilityType::kCORE));
  return core != nullptr && name == core->getPluginName() && std::strcmp(core->getPluginVersion(), "1") == 0 &&
         std::strcmp(core->getPluginNamespace(), "fade") == 0 &&
         plugin.getCapabilityInterface(PluginCapabilityType::kBUILD) != nullptr &&
         plugin.getCapabilityInterface(PluginCapabilityType::kRUNTIME) != nullptr &&
         plugin.getCapabilityInterface(static_cast<PluginCapabilityType>(7)) == nullptr;
}

// From the fields of one plugin, as an engine keeps them, another one.
bool survivesAnEngine(Library const& library, PluginPointer const& plugin, NodeType const& type) {
  PluginFieldCollection const* const kept = running(plugin).getFieldsToSerialize();
  if (kept == nullptr || kept->nbFields != static_cast<int32_t>(type.attributeNames.size())) return false;
  Fields const copied(kept->fields, kept->fields + kept->nbFields);
  PluginPointer const again = made(library, type.name, copied, TensorRTPhase::kRUNTIME);
  if (again == nullptr || !isWhole(*again, type.name)) return false;
  PluginFieldCollection const* const after = running(again).getFieldsToSerialize();
  for (int32_t i = 0; i < kept->nbFields; ++i) {
    PluginField const &a = kept->fields[i], &b = after->fields[i];
    int32_t const value =
        static_cast<int32_t>(attributeValue(type.attributes, type.attributeNames[static_cast<size_t>(i)]));
    if (type.attributeNames[static_cast<size_t>(i)] != a.name || std::strcmp(a.name, b.name) != 0 || a.length != 1 ||
        a.type != PluginFieldType::kINT32 || std::memcmp(a.data, &value, 4) != 0 ||
        std::memcmp(b.data, &value, 4) != 0) {
      return false;
    }
  }
  return true;
}

}  // namespace

void checkLibrary(Library const& library, Account& account) {
  account.check(library.version() == kVersion, "the operators' version is the contract's");
  account.check(library.headers() == NV_TENSORRT_VERSION, "it was built with the harness's headers");
  account.check(library.operators() == contractText(runsOnGpu), "it tells the contract's operators but FadeHead");

  std::set<std::string> expected;
  for (NodeType const& type : allNodeTypes()) {
    if (type.kind != OperatorKind::kHead) expected.insert(type.name);
  }
  int32_t count = 0;
  nvinfer1::IPluginCreatorInterface* const* const creators = library.getCreators(count);
  std::set<std::string> names, kinds;
  bool ours = true;
  for (int32_t i = 0; i < count; ++i) {
    auto* const creator = static_cast<nvinfer1::IPluginCreatorV3One*>(creators[i]);
    names.insert(creator->getPluginName());
    kinds.insert(creators[i]->getInterfaceInfo().kind);
    ours = ours && std::strcmp(creator->getPluginNamespace(), "fade") == 0 &&
           std::strcmp(creator->getPluginVersion(), "1") == 0;
  }
  account.check(names == expected && static_cast<size_t>(count) == expected.size(),
                std::to_string(count) + " creators, one for each name");
  account.check(ours && kinds == std::set<std::string>{"PLUGIN CREATOR_V3ONE"},
                "all are of namespace fade, version 1, and make IPluginV3");

  std::set<std::string> keys;
  bool whole = true, kept = true, copied = true;
  for (std::string const& name : expected) {
    NodeType const& type = nodeType(name);
    PluginPointer const plugin = library.plugin(type);
    whole = whole && isWhole(*plugin, name);
    kept = kept && survivesAnEngine(library, plugin, type);
    PluginPointer const copy(plugin->clone());
    copied = copied && copy != nullptr && copy.get() != plugin.get() && survivesAnEngine(library, copy, type);
    keys.insert(building(plugin).getTimingCacheID());
    whole = whole && std::string(building(plugin).getMetadataString()).find(attributesText(type)) != std::string::npos;
  }
  account.check(whole, "every name gives a plugin with its three capabilities, whose metadata are its attributes");
  account.check(kept, "what every plugin gives to an engine makes the same plugin again");
  account.check(copied, "a copy of every plugin is a plugin of its own");
  account.check(keys.size() == expected.size(), "each name has its own key in a timing cache");
}

void checkAttributes(Library const& library, Account& account) {
  std::string const name = "FadeReassemble_k3_s4_g2";
  std::array<int32_t, 3> right{};
  Fields const fields = fieldsOf(nodeType(name), right);
  PluginFieldCollection const* const offered = library.creator(name).getFieldNames();
  bool same = offered->nbFields == 3;
  for (size_t i = 0; same && i < 3; ++i) {
    same =
        std::strcmp(offered->fields[i].name, fields[i].name) == 0 && offered->fields[i].type == PluginFieldType::kINT32;
  }
  account.check(same, "the attributes that a parser hands over are the contract's");

  int64_t const wide[] = {3, 4, 2};
  Fields asWide = fields, reversed(fields.rbegin(), fields.rend());
  for (size_t i = 0; i < 3; ++i) asWide[i] = PluginField(fields[i].name, &wide[i], PluginFieldType::kINT64, 1);
  account.check(made(library, name, asWide, TensorRTPhase::kBUILD) != nullptr, "integers of 64 bits are integers, too");
  account.check(made(library, name, reversed, TensorRTPhase::kBUILD) != nullptr, "in any order");

  auto const with = [&](size_t index, PluginField const& field) {
    Fields changed = fields;
    changed[index] = field;
    return changed;
  };
  float const real = 3.F;
  char const text[] = "3";
  int32_t const pair[] = {3, 3}, zero = 0, five = 5, negative = -3;
  int64_t const beyond = (int64_t{1} << 32) + 3;  // 3 in its lower half
  refuse(library, account, name, {}, "no attribute",
         "FadeReassemble_k3_s4_g2: attribute kernel_size is missing, expected 3");
  refuse(library, account, name, {fields[0], fields[1]}, "one missing", "attribute groups is missing, expected 2");
  refuse(library, account, name, with(0, {"kernel_size", &real, PluginFieldType::kFLOAT32, 1}), "a float",
         "attribute kernel_size is float32 of length 1, expected 3");
  refuse(library, account, name, with(0, {"kernel_size", text, PluginFieldType::kCHAR, 1}), "a text",
         "attribute kernel_size is text of length 1, expected 3");
  refuse(library, account, name, with(0, {"kernel_size", text, PluginFieldType::kUNKNOWN, 1}), "of no known type",
         "attribute kernel_size is TensorRT's field type 8 of length 1");
  refuse(library, account, name, with(0, {"kernel_size", pair, PluginFieldType::kINT32, 2}), "two integers",
         "attribute kernel_size is 2 integers, expected 3");
  refuse(library, account, name, with(0, {"kernel_size", pair, PluginFieldType::kINT32, 0}), "none",
         "attribute kernel_size is 0 integers");
  refuse(library, account, name, with(0, {"kernel_size", nullptr, PluginFieldType::kINT32, 1}), "no data",
         "attribute kernel_size is 1 integers");
  refuse(library, account, name, with(0, {"kernel_size", &five, PluginFieldType::kINT32, 1}), "not what the name means",
         "attribute kernel_size is 5, expected 3, which the name of the node means");
  refuse(library, account, name, with(0, {"kernel_size", &negative, PluginFieldType::kINT32, 1}), "below its range",
         "attribute kernel_size is -3, expected 3");
  refuse(library, account, name, with(2, {"groups", &zero, PluginFieldType::kINT32, 1}), "zero groups",
         "attribute groups is 0, expected 2");
  refuse(library, account, name, with(0, {"kernel_size", &beyond, PluginFieldType::kINT64, 1}), "beyond 32 bits",
         "attribute kernel_size is 4294967299, expected 3");
  Fields more = fields;
  more.emplace_back("terms", &five, PluginFieldType::kINT32, 1);
  refuse(library, account, name, more, "another operator's",
         "attribute 'terms' is unknown, expected kernel_size 3, scale 4, groups 2");
  more.back().name = nullptr;
  refuse(library, account, name, more, "without a name", "attribute '' is unknown");
  account.refused(library.creator(name).createPlugin(nullptr, nullptr, TensorRTPhase::kBUILD) == nullptr,
                  name + ", nothing at all", "fade: FadeReassemble_k3_s4_g2: attribute kernel_size is missing");
  std::array<int32_t, 3> tuned{};
  refuse(library, account, "FadeUpsample_k7_s2", fieldsOf(nodeType("FadeUpsample"), tuned),
         "the attributes of FadeUpsample", "layer: FadeUpsample_k7_s2: attribute kernel_size is 5, expected 7");
}

}  // namespace fade::tests
