"""The CUDA kernels as built, read by scripts/kernel_resources.py: properties that only the machine code shows."""

import functools
import re
import subprocess
import sys

import pytest

from conftest import BINARY, ROOT

BUILD = BINARY.parent
# Bytes that a thread may spill: none on Hopper; elsewhere two registers outside all loops.
SPILLED = {"80": 8, "90": 0, "100": 8}


@functools.cache  # a disassembly takes seconds
def table_of(arch, *arguments):
    """Kernel -> (registers, spilled bytes, loads, stores), the last two by bits."""
    process = subprocess.run([sys.executable, ROOT / "scripts/kernel_resources.py", "--build", BUILD, "--arch", arch, *arguments],
                             capture_output=True, text=True, timeout=120)
    if "no CUDA kernels" in process.stderr:
        pytest.skip("a build without CUDA")
    assert process.returncode == 0, process.stderr
    kernels = {}
    for line in process.stdout.splitlines()[1:]:
        name, registers, spilled, rest = re.match(r"(\S+(?:<.*>)?)\s+(\d+)\s+(\d+)\s+\d+\s+\d+ (.*)", line).groups()
        loads, stores = ({int(bits): int(count) for count, bits in re.findall(r"(\d+) x (\d+)", part)} for part in rest.split(";"))
        kernels[name] = int(registers), int(spilled), loads, stores
    return kernels


@pytest.mark.parametrize("arch", SPILLED)
def test_bfloat16_kernels_hardly_spill_and_move_16_bytes_at_once(arch):
    kernels = {name: row for name, row in table_of(arch).items() if "<Bfloat16, 8" in name}
    assert len(kernels) >= 14
    for name, (registers, spilled, loads, stores) in kernels.items():
        assert spilled <= SPILLED[arch], name
        assert registers <= 128, name  # two blocks of 256 threads fit on an SM
        assert loads.get(128, 0) > 0, name


@pytest.mark.parametrize("arch", SPILLED)
def test_what_is_streamed_is_stored_whole(arch):
    """Four 32-bit stores instead of one of 128 bits need four times the transactions; all narrower stores here are known."""
    kernels = table_of(arch)
    for name, narrow in {
        "rope_forward_kernel<Bfloat16, 8, false, false>": {}, "rope_forward_kernel<Bfloat16, 8, true, false>": {},
        "rope_forward_kernel<Bfloat16, 8, false, true>": {}, "rope_forward_kernel<Bfloat16, 8, true, true>": {},
        "rope_backward_kernel<Bfloat16, 8, false, false>": {}, "rope_backward_kernel<Bfloat16, 8, false, true>": {},
        "rope_backward_kernel<Bfloat16, 8, true, false>": {32: 1}, "rope_backward_kernel<Bfloat16, 8, true, true>": {32: 1},  # d_row_scale
        "qk_norm_rope_forward_kernel<Bfloat16, 8>": {},
        "swiglu_forward_kernel<Bfloat16, 8>": {}, "swiglu_backward_kernel<Bfloat16, 8>": {},
        "rms_norm_forward_kernel<Bfloat16, 8, true>": {32: 1},  # rstd
        "embedding_forward_kernel<Bfloat16, 8>": {},
        "adamw_kernel": {64: 1, 32: 12, 16: 4},  # the bfloat16 copy of four fp32 values; single ones next to whole vectors
    }.items():
        stores = dict(kernels[name][3])
        assert stores.pop(128) > 0 and stores == narrow, name
    # The gradients of a pair of vectors and one of v; those of a gain, summed over a block, are fp32.
    assert kernels["qk_norm_rope_backward_kernel<Bfloat16, 8>"][3][128] == 3


def test_variants_without_vectors_are_listed_on_request():
    few, all_of_them = table_of("90"), table_of("90", "--all")
    assert set(few) < set(all_of_them) and "swiglu_forward_kernel<Bfloat16, 1>" in set(all_of_them) - set(few)
