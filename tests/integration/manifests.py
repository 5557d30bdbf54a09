"""Rewrites the manifest of a checkpoint that a test changed, as the program would have, and adds what a GPU leaves in it."""

import json

import xxhash


def sign(checkpoint, elsewhere={}):
    """Lists the files with their sizes and checksums, others under the names that `elsewhere` gives them, and then adds the
    manifest's own checksum."""
    path = checkpoint / "manifest.json"
    manifest = json.loads(path.read_text())
    compact = lambda: json.dumps(manifest, separators=(",", ":")).encode()
    own = manifest.pop("self")
    assert own == xxhash.xxh3_128_hexdigest(compact())
    files = [file for file in checkpoint.rglob("*") if file.is_file() and file != path]
    contents = {str(file.relative_to(checkpoint)): file.read_bytes() for file in files}
    contents |= {name: file.read_bytes() for name, file in elsewhere.items()}
    manifest["files"] = {name: {"size": len(data), "checksum": xxhash.xxh3_128_hexdigest(data)} for name, data in sorted(contents.items())}
    manifest["self"] = xxhash.xxh3_128_hexdigest(compact())
    path.write_text(json.dumps(manifest, indent=2) + "\n")


# As a run on a GPU keeps them in its state.
CHOSEN_PRODUCTS = {"library": "cuBLASLt 130100", "gpu": "a GPU", "workspace_bytes": 2**25, "shapes": [
    {"m": 2304, "n": 768, "k": 32768, "a_transposed": True, "b_transposed": False, "inputs": "bfloat16", "out": "float32",
     "a_alignment": 64, "b_alignment": 64, "out_alignment": 4, "algorithm": "0123456789abcdef" * 8}]}


def store_products(checkpoint, products=CHOSEN_PRODUCTS):
    """Turns the checkpoint into one of a run that chose how a GPU computes its GEMMs."""
    state = checkpoint / "trainer/state.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"products": products}, indent=2))
    sign(checkpoint)
