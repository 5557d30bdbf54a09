#!/usr/bin/env python3
"""Copies shared libraries (ELF, 64 bits) that belong together, and hides all symbols of the copies but their interface.

The dynamic loader binds a name to the first definition that it meets, in whatever library. A symbol that is hidden is seen by
its own library alone: that library always gets its own, and no other library ever does. What remains visible are the names
with PART in them, and those that one of the libraries imports from another.

Usage: private_copy.py DIRECTORY PART LIBRARY...      a copy has the name of its library
"""

import os
import pathlib
import struct
import sys

SHT_DYNSYM = 11
STB_LOCAL = 0
STV_MASK, STV_HIDDEN = 3, 2
SHN_UNDEF = 0
HEADER = struct.Struct("<16sHHIQQQIHHHHHH")  # Elf64_Ehdr
SECTION = struct.Struct("<IIQQQQIIQQ")       # Elf64_Shdr
SYMBOL = struct.Struct("<IBBHQQ")            # Elf64_Sym
OFFSET_OF_OTHER = 5                          # of st_other in Elf64_Sym


def dynamic_symbols(image):
    """Of each symbol that the loader looks up by its name: where its entry begins, the name, and whether it is defined here."""
    identity, *_, table, _, _, _, _, _, count, _ = HEADER.unpack_from(image)
    if identity[:6] != b"\x7fELF\x02\x01":
        raise ValueError("no little-endian ELF file of 64 bits")
    sections = [SECTION.unpack_from(image, table + i * SECTION.size) for i in range(count)]
    for _, kind, _, _, begin, size, link, *_ in sections:
        if kind == SHT_DYNSYM:
            names = sections[link][4]
            for place in range(begin, begin + size, SYMBOL.size):
                name, info, _, section, _, _ = SYMBOL.unpack_from(image, place)
                if info >> 4 != STB_LOCAL:
                    yield place, bytes(image[names + name : image.index(b"\0", names + name)]), section != SHN_UNDEF


def hide(image, part, imported):
    for place, name, defined in dynamic_symbols(image):
        if defined and part not in name and name not in imported:
            image[place + OFFSET_OF_OTHER] = image[place + OFFSET_OF_OTHER] & ~STV_MASK | STV_HIDDEN


def replace(path, content):
    """Leaves a file that has this content as old as it is: what was linked with it is not linked again."""
    if path.exists() and path.read_bytes() == content:
        return
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)  # a program that runs keeps the file that it has mapped


def main(directory, part, *libraries):
    images = {pathlib.Path(library).name: bytearray(pathlib.Path(library).read_bytes()) for library in libraries}
    imported = {name for image in images.values() for _, name, defined in dynamic_symbols(image) if not defined}
    os.makedirs(directory, exist_ok=True)
    for name, image in images.items():
        hide(image, part.encode(), imported)
        replace(pathlib.Path(directory, name), image)


if __name__ == "__main__":
    main(*sys.argv[1:])
