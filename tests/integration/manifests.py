"""The manifest of a checkpoint that a test changed, as the program would have written it."""

import json

import xxhash


def sign(checkpoint, elsewhere={}):
    """Lists the files as they are, and others under the names that `elsewhere` gives them: their sizes and checksums, and then
    the manifest's own."""
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
