"""The manifest of a checkpoint, written anew."""

import ctypes
import json


class Hash128(ctypes.Structure):
    _fields_ = [("low", ctypes.c_uint64), ("high", ctypes.c_uint64)]


def checksum(data):
    xxhash = ctypes.CDLL("libxxhash.so.0")
    xxhash.XXH3_128bits.restype = Hash128
    value = xxhash.XXH3_128bits(data, ctypes.c_size_t(len(data)))
    return f"{value.high:016x}{value.low:016x}"


def list_files(directory, elsewhere={}):
    """Writes the manifest of the files as they are, and of others under the names that `elsewhere` gives them."""
    manifest = json.loads((directory / "manifest.json").read_text())
    del manifest["self"]
    files = sorted(path for path in directory.rglob("*") if path.is_file() and path.name != "manifest.json")
    named = {**{str(path.relative_to(directory)): path for path in files}, **elsewhere}
    manifest["files"] = {name: {"size": path.stat().st_size, "checksum": checksum(path.read_bytes())}
                         for name, path in sorted(named.items())}
    manifest["self"] = checksum(json.dumps(manifest, separators=(",", ":")).encode())
    (directory / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
