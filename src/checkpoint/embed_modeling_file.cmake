# Writes INPUT into OUTPUT as the definition of ssgpt::checkpoint::modeling_file().
file(READ "${INPUT}" text)
string(FIND "${text}" ")PYTHON\"" end)
if(NOT end EQUAL -1)
  message(FATAL_ERROR "${INPUT} holds the text that ends a raw string literal")
endif()
file(WRITE "${OUTPUT}"
"#include \"checkpoint/modeling_file.h\"

namespace ssgpt::checkpoint {

std::string_view modeling_file() {
  return R\"PYTHON(${text})PYTHON\";
}

}  // namespace ssgpt::checkpoint
")
