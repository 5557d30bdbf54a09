# cmake --install BUILD --prefix P [--component program|share]; DESTDIR is respected.
#   program  bin/ssgpt, and in lib/ssgpt libssgpt_cuda.so and the private copies of sentencepiece's libraries. The program
#            finds LibTorch where it was linked with it: that python environment has to stay.
#   share    configs, the script that draws reports, shell completions, documents and the licence
include(GNUInstallDirs)

set(private_libraries "${CMAKE_INSTALL_LIBDIR}/ssgpt")
cmake_path(RELATIVE_PATH private_libraries BASE_DIRECTORY "${CMAKE_INSTALL_BINDIR}" OUTPUT_VARIABLE from_program)
# The same in the build's folder: CMake would give a program that is changed when it is installed an empty entry, for which the
# loader takes the current folder.
set_target_properties(ssgpt PROPERTIES BUILD_WITH_INSTALL_RPATH ON
  INSTALL_RPATH "$ORIGIN/${from_program};$ORIGIN;$ORIGIN/lib;${TORCH_ROOT}/lib")
install(TARGETS ssgpt RUNTIME DESTINATION "${CMAKE_INSTALL_BINDIR}" COMPONENT program)
if(TARGET ssgpt_cuda)
  set_target_properties(ssgpt_cuda PROPERTIES BUILD_WITH_INSTALL_RPATH ON INSTALL_RPATH "${torch_libraries}")
  install(TARGETS ssgpt_cuda LIBRARY DESTINATION "${private_libraries}" COMPONENT program)
endif()
foreach(library IN ITEMS sentencepiece_train sentencepiece)
  install(FILES "$<TARGET_FILE:${library}>" DESTINATION "${private_libraries}" COMPONENT program)
endforeach()

set(data "${CMAKE_INSTALL_DATADIR}/ssgpt")
install(DIRECTORY configs DESTINATION "${data}" COMPONENT share)
install(FILES scripts/report.py DESTINATION "${data}/scripts" COMPONENT share)
install(DIRECTORY scripts/report_page DESTINATION "${data}/scripts" COMPONENT share PATTERN __pycache__ EXCLUDE)
install(CODE "
  set(folder \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DOCDIR}\")
  message(STATUS \"Installing: \$ENV{DESTDIR}\${folder}\")
  execute_process(
    COMMAND \"${SSGPT_PYTHON}\" -B \"${PROJECT_SOURCE_DIR}/cmake/install_documents.py\" \"${PROJECT_SOURCE_DIR}\"
      \"\$ENV{DESTDIR}\${folder}\"
    OUTPUT_VARIABLE documents OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
  string(REPLACE \"\\n\" \";\" documents \"\${documents}\")
  list(TRANSFORM documents PREPEND \"\${folder}/\")
  list(APPEND CMAKE_INSTALL_MANIFEST_FILES \${documents})"
  COMPONENT share)

# The installed program prints its completions, so that they always match its options.
foreach(script IN ITEMS
    bash:bash-completion/completions:ssgpt zsh:zsh/site-functions:_ssgpt fish:fish/vendor_completions.d:ssgpt.fish)
  string(REPLACE ":" ";" script "${script}")
  list(GET script 0 shell)
  list(GET script 1 folder)
  list(GET script 2 name)
  install(CODE "
    set(script \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_DATADIR}/${folder}/${name}\")
    message(STATUS \"Installing: \$ENV{DESTDIR}\${script}\")
    execute_process(COMMAND \"$<TARGET_FILE:ssgpt>\" completion ${shell} OUTPUT_VARIABLE text COMMAND_ERROR_IS_FATAL ANY)
    file(WRITE \"\$ENV{DESTDIR}\${script}\" \"\${text}\")
    list(APPEND CMAKE_INSTALL_MANIFEST_FILES \"\${script}\")"
    COMPONENT share)
endforeach()
