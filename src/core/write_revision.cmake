# cmake -DSOURCE_DIR=... -DOUTPUT=... -P write_revision.cmake: writes the git revision of SOURCE_DIR, and
# the SHA-256 of its headers, as a header.
# A tree that is not itself the top of a git checkout (a release archive, also one unpacked inside another checkout)
# has the revision "unknown".
set(revision "unknown")
find_program(GIT git)
if(GIT)
  execute_process(COMMAND "${GIT}" -C "${SOURCE_DIR}" rev-parse --show-toplevel
    OUTPUT_VARIABLE top OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
  file(REAL_PATH "${SOURCE_DIR}" source)
  if(NOT failed AND top STREQUAL source)
    execute_process(COMMAND "${GIT}" -C "${SOURCE_DIR}" rev-parse --short=12 HEAD
      OUTPUT_VARIABLE commit OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
    if(NOT failed)
      set(revision "${commit}")
      execute_process(COMMAND "${GIT}" --no-optional-locks -C "${SOURCE_DIR}" status --porcelain --untracked-files=no
        OUTPUT_VARIABLE changes ERROR_QUIET)
      if(changes)
        string(APPEND revision "-dirty")
      endif()
    endif()
  endif()
endif()
file(GLOB_RECURSE headers "${SOURCE_DIR}/src/*.h")
set(digests "")
foreach(header IN LISTS headers)
  # An editor's lock, a link that leads nowhere, or a file that was removed just now.
  if(header MATCHES "/\\.[^/]*$" OR NOT EXISTS "${header}")
    continue()
  endif()
  file(SHA256 "${header}" digest)
  string(APPEND digests "${digest}")
endforeach()
string(SHA256 digest "${digests}")
file(CONFIGURE OUTPUT "${OUTPUT}"
  CONTENT "#define SSGPT_GIT_REVISION \"${revision}\"\n#define SSGPT_HEADERS_DIGEST \"${digest}\"\n")
