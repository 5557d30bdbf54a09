# ssgpt::torch: LibTorch out of the PyTorch wheel in .venv, as imported targets.
# find_package(Torch) is not used: this wheel's config file needs a CUDA toolkit even for a CPU build, and it
# rewrites CMAKE_CUDA_ARCHITECTURES and global flags.

set(SSGPT_PYTHON "${PROJECT_SOURCE_DIR}/.venv/bin/python" CACHE FILEPATH "Python whose torch package supplies LibTorch")
set(SSGPT_TORCH_VERSION 2.11.0)
execute_process(
  COMMAND "${SSGPT_PYTHON}" -c
    "import importlib.util as u, importlib.metadata as m; print(u.find_spec('torch').submodule_search_locations[0], m.version('torch').split('+')[0], sep=';', end='')"
  OUTPUT_VARIABLE torch_location ERROR_QUIET RESULT_VARIABLE torch_missing)
if(torch_missing)
  message(FATAL_ERROR "No torch package in ${SSGPT_PYTHON}: run scripts/setup.sh, or set SSGPT_PYTHON")
endif()
list(GET torch_location 0 TORCH_ROOT)
list(GET torch_location 1 torch_version)
if(NOT torch_version STREQUAL SSGPT_TORCH_VERSION)
  message(FATAL_ERROR "torch ${torch_version} found in ${TORCH_ROOT}; this program is written for ${SSGPT_TORCH_VERSION}: run scripts/setup.sh")
endif()

foreach(library IN ITEMS c10 torch_cpu)
  add_library(${library} SHARED IMPORTED)
  set_target_properties(${library} PROPERTIES IMPORTED_LOCATION "${TORCH_ROOT}/lib/lib${library}.so")
endforeach()

add_library(ssgpt_torch INTERFACE)
add_library(ssgpt::torch ALIAS ssgpt_torch)
set_target_properties(ssgpt_torch PROPERTIES SSGPT_USES_TORCH TORCH)
# The wheel ships the headers of another version of fmt than the one we link: ours must come first.
get_target_property(fmt_headers fmt::fmt INTERFACE_INCLUDE_DIRECTORIES)
file(MAKE_DIRECTORY "${PROJECT_BINARY_DIR}/headers")
file(CREATE_LINK "${fmt_headers}/fmt" "${PROJECT_BINARY_DIR}/headers/fmt" SYMBOLIC)
target_include_directories(ssgpt_torch SYSTEM INTERFACE "${PROJECT_BINARY_DIR}/headers" "${TORCH_ROOT}/include")
# With this <ATen/TensorOperators.h> includes what it needs, and not the header of every operator.
target_compile_definitions(ssgpt_torch INTERFACE AT_PER_OPERATOR_HEADERS)
# at::parallel_for is in a header: without -fopenmp it runs on one thread. The OpenMP runtime must be Torch's own, or
# the process has two thread teams.
target_compile_options(ssgpt_torch INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-fopenmp>)
target_link_libraries(ssgpt_torch INTERFACE torch_cpu c10 "${TORCH_ROOT}/lib/libgomp.so.1")
set(torch_libraries "${TORCH_ROOT}/lib")
# Programs find libssgpt_cuda.so in the build's own folder.
set(CMAKE_BUILD_RPATH ${torch_libraries} "${PROJECT_BINARY_DIR}")

if(NOT SSGPT_CUDA STREQUAL "OFF")
  find_package(CUDAToolkit 13.0 QUIET)
endif()
if(SSGPT_CUDA STREQUAL "ON" AND NOT CUDAToolkit_FOUND)
  message(FATAL_ERROR "SSGPT_CUDA=ON, but no CUDA toolkit 13.0 or newer was found")
endif()
if(CUDAToolkit_FOUND)
  # ssgpt::torch_cuda: for the library that the program loads where there is a GPU (src/CMakeLists.txt). NVIDIA's libraries
  # are those of the wheel: the toolkit's own copies would be loaded in addition to Torch's.
  cmake_path(GET TORCH_ROOT PARENT_PATH site_packages)
  list(APPEND torch_libraries "${site_packages}/nvidia/cu13/lib" "${site_packages}/nvidia/nccl/lib" "${site_packages}/nvidia/cudnn/lib")
  foreach(library IN ITEMS
      c10_cuda:${TORCH_ROOT}/lib/libc10_cuda.so cudart:${site_packages}/nvidia/cu13/lib/libcudart.so.13
      cublasLt:${site_packages}/nvidia/cu13/lib/libcublasLt.so.13 nccl:${site_packages}/nvidia/nccl/lib/libnccl.so.2)
    string(REGEX MATCH "^([^:]+):(.+)$" library "${library}")
    add_library(${CMAKE_MATCH_1} SHARED IMPORTED)
    set_target_properties(${CMAKE_MATCH_1} PROPERTIES IMPORTED_LOCATION "${CMAKE_MATCH_2}")
  endforeach()
  add_library(ssgpt_torch_cuda INTERFACE)
  add_library(ssgpt::torch_cuda ALIAS ssgpt_torch_cuda)
  target_include_directories(ssgpt_torch_cuda SYSTEM INTERFACE ${CUDAToolkit_INCLUDE_DIRS} "${site_packages}/nvidia/nccl/include")
  target_link_libraries(ssgpt_torch_cuda INTERFACE ssgpt::torch c10_cuda cudart cublasLt nccl)
  # Even where no symbol of libtorch_cuda is used: it registers its operators when it is loaded.
  target_link_options(ssgpt_torch_cuda INTERFACE -Wl,--no-as-needed "${TORCH_ROOT}/lib/libtorch_cuda.so" -Wl,--as-needed)
  # The kernels of src/kernels/cuda: machine code for these architectures, and PTX for those after the last.
  set(SSGPT_CUDA_ARCHITECTURES 80-real 90-real 100 CACHE STRING "GPUs that the CUDA kernels are compiled for")
  set(CMAKE_CUDA_ARCHITECTURES ${SSGPT_CUDA_ARCHITECTURES})
  set(CMAKE_CUDA_COMPILER "${CUDAToolkit_NVCC_EXECUTABLE}")
  enable_language(CUDA)
  set(CMAKE_CUDA_RUNTIME_LIBRARY None)  # ssgpt::torch_cuda brings it
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION "-std=c++20")  # CMake 3.25 does not know that nvcc supports it
  message(STATUS "LibTorch ${torch_version} with CUDA ${CUDAToolkit_VERSION}: ${TORCH_ROOT}")
else()
  message(STATUS "LibTorch ${torch_version}, CPU only: ${TORCH_ROOT}")
endif()
