# Libraries from Debian's packages, as imported targets; scripts/setup.sh installs them. For sentencepiece see
# Sentencepiece.cmake.

find_package(Threads REQUIRED)
find_package(fmt REQUIRED)
find_package(spdlog REQUIRED)
find_package(yaml-cpp REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(simdjson REQUIRED)
find_package(CLI11 REQUIRED)
find_package(benchmark REQUIRED)
find_package(Boost 1.74 REQUIRED)  # headers only: Boost.Math and Boost.CRC
find_package(PkgConfig REQUIRED)
pkg_check_modules(zstd REQUIRED IMPORTED_TARGET libzstd)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
if(SSGPT_TESTS)
  find_package(GTest REQUIRED)
endif()
