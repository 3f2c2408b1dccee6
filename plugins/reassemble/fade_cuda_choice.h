// Which kernel computes which arguments: the same for the GPU and for the emulation on the CPU.
#pragma once

#include "fade_cuda_work.h"

namespace fade::cuda {

// Whether the kernel on tensor cores is written for this.
inline bool isMatrixCase(Work const& work) {
  UpsampleArguments const& a = work.arguments;
  return a.type != DataType::kFloat32 && a.kernelSize == 5 && a.scale == 2 && a.terms <= 3 &&
         work.hasWideRows;
}

template <int32_t K, typename Launcher>
auto chooseScale(UpsampleArguments const& a, Launcher const& launcher) {
  if (a.scale == 1) return launcher.template general<K, 1, 4>();
  if (a.scale == 2) return launcher.template general<K, 2, 4>();
  return launcher.template general<K, 4, 4>();
}

// Calls the launcher's general<K, s, channels held>() or matrix<most terms, addends>() for valid
// arguments. Launcher::kHasMatrix says whether it has the latter at all, hasMatrixUnits() whether
// its GPU can.
template <typename Launcher>
auto choose(Work const& work, Launcher const& launcher) {
  UpsampleArguments const& a = work.arguments;
  if constexpr (Launcher::kHasMatrix) {
    if (isMatrixCase(work) && launcher.hasMatrixUnits()) {
      if (a.terms > 1) return launcher.template matrix<3, 1>();
      if (work.addends[1].data != nullptr) return launcher.template matrix<1, 2>();
      return launcher.template matrix<1, 1>();
    }
  } else {
    if (a.kernelSize == 5 && a.scale == 2 && a.terms > 1) {
      return launcher.template general<5, 2, 16>();
    }
  }
  if (a.kernelSize == 1) return chooseScale<1>(a, launcher);
  if (a.kernelSize == 3) return chooseScale<3>(a, launcher);
  if (a.kernelSize == 5) return chooseScale<5>(a, launcher);
  return chooseScale<7>(a, launcher);
}

}  // namespace fade::cuda
