# libfade_onnxruntime_cuda.so: no library of CUDA is needed to load it, only a driver to run it.
if(TARGET fade_reassemble_cuda)
  find_package(CUDAToolkit QUIET REQUIRED)
  add_library(fade_onnxruntime_cuda MODULE cuda.cpp)
  target_link_libraries(fade_onnxruntime_cuda PRIVATE fade_custom_op fade_reassemble_cuda)
  fade_module(fade_onnxruntime_cuda ${CMAKE_CURRENT_SOURCE_DIR}/cuda_exports.map)
endif()
