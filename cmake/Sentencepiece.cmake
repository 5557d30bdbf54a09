# ssgpt::sentencepiece: Debian's sentencepiece, through private copies of its libraries.
# sentencepiece and LibTorch's libc10 both export a variable FLAGS_minloglevel, an object of 32 bytes there and an int here.
# Linked as they are, both use the one that is loaded first: if that is libc10's, sentencepiece writes its object over it
# and over whatever follows it. They also use each other's inline functions, which different compilers have compiled.
# Debian has no static library, whose symbols the linker could hide; so the copies hide everything but their interface.

find_path(SSGPT_SENTENCEPIECE_HEADERS sentencepiece_processor.h REQUIRED)
add_library(ssgpt_sentencepiece INTERFACE)
add_library(ssgpt::sentencepiece ALIAS ssgpt_sentencepiece)
target_include_directories(ssgpt_sentencepiece SYSTEM INTERFACE "${SSGPT_SENTENCEPIECE_HEADERS}")

set(originals "")
foreach(library IN ITEMS sentencepiece_train sentencepiece)
  # Found by the name under which programs load it, since a copy keeps its file name.
  find_library(SSGPT_LIB${library} NAMES lib${library}.so.0 REQUIRED)
  list(APPEND originals "${SSGPT_LIB${library}}")
  add_library(${library} SHARED IMPORTED)
  set_target_properties(${library} PROPERTIES IMPORTED_LOCATION "${PROJECT_BINARY_DIR}/lib/lib${library}.so.0")
  target_link_libraries(ssgpt_sentencepiece INTERFACE ${library})
endforeach()
set(private_copy "${CMAKE_CURRENT_LIST_DIR}/private_copy.py")
execute_process(COMMAND "${SSGPT_PYTHON}" "${private_copy}" "${PROJECT_BINARY_DIR}/lib" sentencepiece ${originals}
  COMMAND_ERROR_IS_FATAL ANY)
set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS "${private_copy}" ${originals})
