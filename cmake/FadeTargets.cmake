# Targets and functions that every plugin shares.

# Warnings, for our own sources: linked PRIVATE, so that nobody who uses a target gets them.
add_library(fade_warnings INTERFACE)
target_compile_options(fade_warnings INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wconversion -Wshadow -Wnon-virtual-dtor -Wcast-align>)
if(FADE_WERROR)
  target_compile_options(fade_warnings INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-Werror> "$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings>")
endif()

add_library(fade_sanitize INTERFACE)
if(FADE_SANITIZE)
  # More optimisation or debug information multiplies the minutes that the unrolled kernels take to compile.
  target_compile_options(fade_sanitize INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -O1 -g1>)
  target_link_options(fade_sanitize INTERFACE -fsanitize=address,undefined)
endif()

# fade_library(target): our own code, hidden unless exported, fit for a shared library.
function(fade_library target)
  target_compile_features(${target} PUBLIC cxx_std_17)
  target_link_libraries(${target} PRIVATE $<BUILD_INTERFACE:fade_warnings> PUBLIC $<BUILD_INTERFACE:fade_sanitize>)
  set_target_properties(${target} PROPERTIES
    POSITION_INDEPENDENT_CODE ON CXX_VISIBILITY_PRESET hidden VISIBILITY_INLINES_HIDDEN ON CXX_EXTENSIONS OFF)
  target_compile_options(${target} PRIVATE $<$<COMPILE_LANGUAGE:CXX>:-ffunction-sections -fdata-sections>)
endfunction()

# fade_module(target MAP): a library that a runtime loads. Exports only what the map names; brings libstdc++ and libgcc
# along, because a host's may be older than the compiler's; leaves out what nothing uses of them, which may need a newer
# C library than the rest does; and stays loaded, because sessions keep pointers into it.
function(fade_module target map)
  fade_library(${target})
  set_target_properties(${target} PROPERTIES LINK_DEPENDS ${map})
  if(CMAKE_SYSTEM_NAME STREQUAL "Linux")
    target_link_options(${target} PRIVATE
      -Wl,--version-script=${map} -Wl,--exclude-libs,ALL -Wl,--gc-sections -Wl,-z,nodelete)
    if(NOT FADE_SANITIZE)  # the sanitizers' runtime, and the C++ library that it watches, come from the program
      target_link_options(${target} PRIVATE -Wl,--no-undefined -static-libstdc++ -static-libgcc)
    endif()
  endif()
  install(TARGETS ${target} LIBRARY DESTINATION . COMPONENT fade)
endfunction()

# fade_skip(name reason): says why a target isn't built and how to get it; an error where FADE_REQUIRE names it.
function(fade_skip name reason)
  if(name IN_LIST FADE_REQUIRE)
    message(FATAL_ERROR "${name}: can't be built, ${reason}")
  endif()
  message(STATUS "${name}: skipped, ${reason}")
endfunction()

# fade_tensorrt_version(FOLDER RESULT): "10.16", from the headers in FOLDER.
function(fade_tensorrt_version folder result)
  set(version "")
  if(EXISTS ${folder}/NvInferVersion.h)
    file(STRINGS ${folder}/NvInferVersion.h lines REGEX "define (TRT|NV_TENSORRT)_(MAJOR|MINOR)[A-Z_]* +[0-9]+")
    string(REGEX REPLACE ".*_MAJOR[A-Z_]* +([0-9]+).*_MINOR[A-Z_]* +([0-9]+).*" "\\1.\\2" version "${lines}")
  endif()
  if(NOT version MATCHES "^[0-9]+\\.[0-9]+$")
    set(version "of unknown version")
  endif()
  set(${result} ${version} PARENT_SCOPE)
endfunction()

# Holds FADE_REQUIRE against what there is, once all is configured.
function(fade_check_required)
  foreach(name IN LISTS FADE_REQUIRE)
    if(name MATCHES "^(onnxruntime|ort_api_test)$")
      set(target fade_${name})
    elseif(name STREQUAL "cuda")
      set(target fade_onnxruntime_cuda)
    elseif(name STREQUAL "tensorrt")
      set(target fade_tensorrt)
    else()
      message(FATAL_ERROR "FADE_REQUIRE: no '${name}' is known, expected onnxruntime, cuda, tensorrt or ort_api_test")
    endif()
    if(NOT TARGET ${target})
      message(FATAL_ERROR "FADE_REQUIRE: ${name} is switched off, see FADE_CUDA and FADE_TESTS")
    endif()
  endforeach()
endfunction()
