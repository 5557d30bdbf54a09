#!/usr/bin/env python3
"""Lists what the CUDA kernels use of a GPU, read from the machine code that was built: registers per thread, bytes
spilled to local memory, shared memory per block, warps that fit on an SM, and the widths of the loads and stores.

Needs a build with a CUDA toolkit (scripts/build.sh), but no GPU. The disassemblers come with the triton package.

    .venv/bin/python scripts/kernel_resources.py --arch 90
"""

import argparse
import collections
import importlib.util
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
REGISTERS_OF_SM = 65536  # on all architectures from 8.0 to 10.0, allocated to a warp in units of 256
MOST_WARPS = 64


def tool(name):
    triton = importlib.util.find_spec("triton")
    path = pathlib.Path(triton.submodule_search_locations[0]) / "backends/nvidia/bin" / name if triton else None
    if path is None or not path.exists():
        sys.exit(f"kernel_resources.py: {name} is missing; it comes with the triton package, which PyTorch needs for CUDA")
    return path


def dump(objects, *options):
    texts = [subprocess.run([tool("cuobjdump"), *options, path], capture_output=True, text=True, encoding="utf-8", check=True).stdout for path in objects]
    return "\n".join(texts)


def readable(symbols):
    names = subprocess.run(["c++filt"], input="\n".join(symbols), capture_output=True, text=True, encoding="utf-8", check=True).stdout.splitlines()
    short = [re.sub(r"^void |ssgpt::kernels::(cuda::)?|\(.*\)$", "", re.sub(r"\((?:int|bool)\)", "", name)) for name in names]
    return dict(zip(symbols, short))


def resources(objects, arch):
    """Symbol -> (registers, bytes of stack, bytes of shared memory)."""
    found = {}
    text = dump(objects, "-res-usage", "-arch", f"sm_{arch}")
    pattern = r"Function (\S+):\s+REG:(\d+) STACK:(\d+) SHARED:(\d+) LOCAL:(\d+)"
    for symbol, registers, stack, shared, local in re.findall(pattern, text):
        found[symbol] = int(registers), int(stack) + int(local), int(shared)
    return found


def accesses(objects, arch):
    """Symbol -> the number of loads and stores of global memory in its code, by bits: ("load", 128) -> 4."""
    found, symbol = collections.defaultdict(collections.Counter), None
    for line in dump(objects, "-sass", "-arch", f"sm_{arch}").splitlines():
        if match := re.search(r"Function : (\S+)", line):
            symbol = match[1]
        elif match := re.search(r"\b(LDG|STG)\.E(\S*)", line):
            narrow = re.search(r"\.[US](8|16)\b", match[2])
            bits = int(narrow[1]) if narrow else 128 if ".128" in match[2] else 64 if ".64" in match[2] else 32
            found[symbol]["load" if match[1] == "LDG" else "store", bits] += 1
    return found


def warps_by_registers(registers):
    return min(MOST_WARPS, REGISTERS_OF_SM // (-(-registers * 32 // 256) * 256))


def widths(counter, kind):
    counts = {bits: count for (which, bits), count in counter.items() if which == kind}
    return ", ".join(f"{counts[bits]} x {bits}" for bits in sorted(counts, reverse=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arch", default="90", help="compute capability of the machine code: 80, 90 or 100 (default: %(default)s)")
    parser.add_argument("--all", action="store_true", help="also show the variants for rows that are no multiple of 16 bytes")
    parser.add_argument("--build", default=str(ROOT / "build/release"), help="(default: %(default)s)")
    arguments = parser.parse_args()
    objects = sorted(pathlib.Path(arguments.build).glob("src/kernels/CMakeFiles/ssgpt_kernels_cuda.dir/cuda/*.cu.o"))
    if not objects:
        sys.exit(f"kernel_resources.py: no CUDA kernels in {arguments.build}; scripts/build.sh makes them where a CUDA toolkit is")
    usage, memory = resources(objects, arguments.arch), accesses(objects, arguments.arch)
    names = readable(list(usage))
    print(f"{'kernel, sm_' + arguments.arch:62} {'registers':>9} {'spilled':>8} {'shared':>7} {'warps':>5}  loads; stores (bits)")
    for symbol, name in sorted(names.items(), key=lambda item: item[1]):
        if not arguments.all and re.search(r"<(float|Bfloat16), 1\b", name):
            continue
        registers, spilled, shared = usage[symbol]
        print(f"{name:62} {registers:9} {spilled:8} {shared:7} {warps_by_registers(registers):5}  "
              f"{widths(memory[symbol], 'load')}; {widths(memory[symbol], 'store')}")


if __name__ == "__main__":
    main()
