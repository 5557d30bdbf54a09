# How every target of ours is declared: one static library a folder, one test executable a folder.

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM)
  set(CMAKE_CXX_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
  set(CMAKE_CUDA_COMPILER_LAUNCHER "${CCACHE_PROGRAM}")
endif()

add_library(ssgpt_options INTERFACE)
target_compile_options(ssgpt_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -Wnon-virtual-dtor -Woverloaded-virtual -Wconversion
    $<$<BOOL:${SSGPT_WARNINGS_AS_ERRORS}>:-Werror>>
  $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra $<$<BOOL:${SSGPT_WARNINGS_AS_ERRORS}>:-Werror=all-warnings>>)
if(SSGPT_SANITIZE)
  target_compile_options(ssgpt_options INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=address,undefined -fno-omit-frame-pointer>)
  target_link_options(ssgpt_options INTERFACE -fsanitize=address,undefined)
endif()

# ssgpt_add_library(<folder> SOURCES <file>... [DEPENDS <target>...] [PRIVATE_DEPENDS <target>...])
# defines ssgpt_<folder>, whose headers are included as "<folder>/name.h".
function(ssgpt_add_library folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS;PRIVATE_DEPENDS" ${ARGN})
  add_library(ssgpt_${folder} STATIC ${ARG_SOURCES})
  target_include_directories(ssgpt_${folder} PUBLIC "${PROJECT_SOURCE_DIR}/src")
  target_link_libraries(ssgpt_${folder} PUBLIC ${ARG_DEPENDS} PRIVATE ssgpt_options ${ARG_PRIVATE_DEPENDS})
endfunction()

# ssgpt_add_test(<folder> SOURCES <file>... [DEPENDS <target>...])
# defines the GoogleTest executable ssgpt_<folder>_tests and registers it with CTest.
function(ssgpt_add_test folder)
  cmake_parse_arguments(ARG "" "" "SOURCES;DEPENDS" ${ARGN})
  add_executable(ssgpt_${folder}_tests ${ARG_SOURCES})
  target_include_directories(ssgpt_${folder}_tests PRIVATE "${PROJECT_SOURCE_DIR}/tests/unit")
  target_link_libraries(ssgpt_${folder}_tests PRIVATE
    ssgpt_options ssgpt_${folder} ${ARG_DEPENDS} GTest::gmock GTest::gtest_main)
  add_test(NAME unit.${folder} COMMAND ssgpt_${folder}_tests)
  set_tests_properties(unit.${folder} PROPERTIES LABELS unit)
endfunction()
