# Sets the RPATH of a program that is already linked, as CMake does for programs that it installs. As variables, the paths may
# contain any characters.
# Usage: cmake -D PROGRAM=FILE -D NEW_RPATH=RPATH -P cmake/SetRpath.cmake
file(RPATH_SET FILE "${PROGRAM}" NEW_RPATH "${NEW_RPATH}")
