#!/usr/bin/env python3
"""Makes copies of shared libraries (64-bit ELF) that belong together, and hides all symbols of the copies except their
interface.

The dynamic loader binds a name to the first definition that it finds, in whatever library. A hidden symbol is visible only to
its own library: that library always uses its own definition, and no other library ever does. The names that stay visible are
those that contain PART, and those that one of the libraries imports from another.

Usage: private_copy.py DIRECTORY PART LIBRARY...      a copy keeps the name of its library
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
OFFSET_OF_OTHER = 5                          # byte offset of st_other in Elf64_Sym


def dynamic_symbols(image):
    """For each symbol that the loader looks up by name: the offset of its entry, the name, and whether it is defined here."""
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
    """Writes the content if the file differs from it: a file that stays as old as it is does not cause relinking."""
    if path.exists() and path.read_bytes() == content:
        return
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_bytes(content)
    os.replace(unfinished, path)  # a running program keeps the file that it has mapped


def main(directory, part, *libraries):
    images = {pathlib.Path(library).name: bytearray(pathlib.Path(library).read_bytes()) for library in libraries}
    imported = {name for image in images.values() for _, name, defined in dynamic_symbols(image) if not defined}
    os.makedirs(directory, exist_ok=True)
    for name, image in images.items():
        hide(image, part.encode(), imported)
        replace(pathlib.Path(directory, name), image)


if __name__ == "__main__":
    main(*sys.argv[1:])
