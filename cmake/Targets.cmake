# Declares all of our targets: one static library per folder, and one test executable per folder.

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  # Without these two, ccache never finds files that include a precompiled header in its cache.
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CMAKE_COMMAND}" -E env CCACHE_SLOPPINESS=pch_defines,time_macros "${CCACHE_PROGRAM}")
  set(CMAKE_CUDA_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
endif()

add_library(ssgpt_options INTERFACE)
target_compile_options(ssgpt_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wconversion
    $<$<BOOL:${SSGPT_WARNINGS_AS_ERRORS}>:-Werror>>
  $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra $<$<BOOL:${SSGPT_WARNINGS_AS_ERRORS}>:-Werror=all-warnings>>)
if(SSGPT_SANITIZE)
  target_compile_options(ssgpt_options INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -O1>)
  target_link_options(ssgpt_options INTERFACE -fsanitize=address,undefined)
endif()

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # Garbage collection starts only beyond 1 GB: few files need as much, and collecting takes a tenth of the time.
  target_compile_options(ssgpt_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:--param=ggc-min-heapsize=1048576>)
endif()

# For code that computes little, above all tests: compiles in about two thirds of the time.
add_library(ssgpt_light_optimisation INTERFACE)
target_compile_options(ssgpt_light_optimisation INTERFACE $<$<AND:$<COMPILE_LANGUAGE:CXX>,$<CONFIG:Release>>:-Og>)

# ssgpt_find_torch(<result> <target>...): TORCH if linking one of the targets brings LibTorch's headers, else empty.
# ssgpt::torch and our libraries have it as a property.
function(ssgpt_find_torch result)
  set(${result} "" PARENT_SCOPE)
  foreach(dependency IN LISTS ARGN)
    if(TARGET ${dependency})
      get_target_property(uses_torch ${dependency} SSGPT_USES_TORCH)
      if(uses_torch)
        set(${result} TORCH PARENT_SCOPE)
      endif()
    endif()
  endforeach()
endfunction()

# Headers that most files include, parsed once instead of in each file. A file still includes what it uses; a build with
# SSGPT_PRECOMPILED_HEADERS=OFF finds files that do not. A precompiled header only works for targets with the same options
# and definitions, so there is one with and one without LibTorch, for libraries and for tests.
set(precompiled_headers
  <algorithm> <array> <atomic> <chrono> <cmath> <cstdint> <filesystem> <functional> <map> <memory> <mutex> <optional>
  <span> <string> <string_view> <utility> <vector> <fmt/format.h>)
# One operator's header stands for what all of them include.
set(precompiled_headers_torch <ATen/core/Tensor.h> <ATen/ops/empty.h>)
set(precompiled_headers_tests <thread> <gmock/gmock.h> <gtest/gtest.h>)

# ssgpt_precompile(<target> [TEST] [TORCH]): the target uses the precompiled header of its kind, which the first such
# target defines.
function(ssgpt_precompile target)
  cmake_parse_arguments(ARG "TEST;TORCH" "" "" ${ARGN})
  if(NOT SSGPT_PRECOMPILED_HEADERS)
    return()
  endif()
  set(name ssgpt_precompiled)
  set(headers ${precompiled_headers})
  set(libraries ssgpt_options fmt::fmt)
  if(ARG_TORCH)
    string(APPEND name _torch)
    list(APPEND headers ${precompiled_headers_torch})
    list(APPEND libraries ssgpt::torch)
  endif()
  if(ARG_TEST)
    string(APPEND name _tests)
    list(APPEND headers ${precompiled_headers_tests})
    list(APPEND libraries ssgpt_light_optimisation GTest::gmock)
  endif()
  if(NOT TARGET ${name})
    file(CONFIGURE OUTPUT "${PROJECT_BINARY_DIR}/${name}.cpp" CONTENT "")
    add_library(${name} OBJECT "${PROJECT_BINARY_DIR}/${name}.cpp")
    target_link_libraries(${name} PRIVATE ${libraries})
    target_precompile_headers(${name} PRIVATE ${headers})
  endif()
  target_precompile_headers(${target} REUSE_FROM ${name})
endfunction()

# Files of a folder that are compiled together parse their headers, and instantiate their templates, once: for a small file
# that is most of the time. With more files in one, there would be too few units for the cores.
set(files_compiled_together 8)
if(SSGPT_UNITY AND CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # GCC warns of classes with members from an unnamed namespace if they are declared in an included file.
  target_compile_options(ssgpt_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-subobject-linkage>)
endif()

function(ssgpt_compile_together target)
  set_target_properties(${target} PROPERTIES
    UNITY_BUILD ${SSGPT_UNITY} UNITY_BUILD_BATCH_SIZE ${files_compiled_together})
endfunction()

# ssgpt_add_library(<folder> SOURCES <file>... [DEPENDS <target>...] [PRIVATE_DEPENDS <target>...])
# defines ssgpt_<folder>, whose headers are included as "<folder>/name.h".
function(ssgpt_add_library folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;PRIVATE_DEPENDS" ${ARGN})
  add_library(ssgpt_${folder} STATIC ${ARG_SOURCES})
  target_include_directories(ssgpt_${folder} PUBLIC "${PROJECT_SOURCE_DIR}/src")
  target_link_libraries(ssgpt_${folder} PUBLIC ${ARG_DEPENDS} PRIVATE ssgpt_options ${ARG_PRIVATE_DEPENDS})
  ssgpt_find_torch(torch ${ARG_DEPENDS})
  set_target_properties(ssgpt_${folder} PROPERTIES SSGPT_USES_TORCH "${torch}")
  ssgpt_precompile(ssgpt_${folder} ${torch})
  ssgpt_compile_together(ssgpt_${folder})
endfunction()

# ssgpt_add_test(<folder> SOURCES <file>... [SEPARATE <file>...] [DEPENDS <target>...])
# defines the GoogleTest executable ssgpt_<folder>_tests and registers it with CTest. SEPARATE: sources that are
# compiled alone, because helpers in them have the names of helpers in others.
function(ssgpt_add_test folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;SEPARATE;DEPENDS" ${ARGN})
  add_executable(ssgpt_${folder}_tests ${ARG_SOURCES} ${ARG_SEPARATE})
  if(ARG_SEPARATE)
    set_source_files_properties(${ARG_SEPARATE} PROPERTIES SKIP_UNITY_BUILD_INCLUSION ON)
  endif()
  target_include_directories(ssgpt_${folder}_tests PRIVATE "${PROJECT_SOURCE_DIR}/tests/unit")
  target_link_libraries(ssgpt_${folder}_tests PRIVATE
    ssgpt_options ssgpt_light_optimisation ssgpt_${folder} ${ARG_DEPENDS} GTest::gmock GTest::gtest_main)
  add_test(NAME unit.${folder} COMMAND ssgpt_${folder}_tests)
  # Several suites run at a time: waiting threads must not keep the others from working.
  set_tests_properties(unit.${folder} PROPERTIES LABELS unit ENVIRONMENT OMP_WAIT_POLICY=passive)
  ssgpt_find_torch(torch ssgpt_${folder} ${ARG_DEPENDS})
  ssgpt_precompile(ssgpt_${folder}_tests TEST ${torch})
  ssgpt_compile_together(ssgpt_${folder}_tests)
endfunction()
