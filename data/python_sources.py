#!/usr/bin/env python3
"""Writes sources of Python packages as JSON lines, one document a file: {"text": "# sympy/core/add.py\\n..."}.

The packages come from PyPI as wheels of fixed versions whose SHA-256 is checked, so everyone has the same bytes; their licences stand below, and in
the wheels, which stay beside the output. Sources repeat themselves: the names that a file defines return in it, and generated files, such as those of
Kubernetes' client, describe each of their hundreds of fields in the same words. A model that uses its context predicts such text well.
Usage: data/python_sources.py OUTPUT.jsonl [--packages kubernetes,plotly]
"""

import argparse
import hashlib
import json
import os
import pathlib
import subprocess
import sys
import typing
import zipfile


class Package(typing.NamedTuple):
    name: str
    version: str
    sha256: str  # of its wheel
    licence: str


PACKAGES = [
    Package("astropy", "8.0.2", "000d6998bcf4f097257b3776f29f1dafde0967bf1b091edbad95df564eee4eea", "BSD-3-Clause"),
    Package("django", "5.2.19", "5965d974a5218a2b68a11dd1276434707f23886525c23f0598eccedaf4f4ca00", "BSD-3-Clause"),
    Package("kubernetes", "37.0.2", "d72683392fc10f59fb78b89bd91cb3be60a05d6ff0bbb2150966a224af6edc03", "Apache-2.0"),
    Package("matplotlib", "3.11.2", "07d9b9fa60cd4c393692f50d0bb03123242ddf61c99bb0e95e75feb354e7c1a8", "Matplotlib's"),
    Package("networkx", "3.6.1", "d47fbf302e7d9cbbb9e2555a0d267983d2aa476bac30e90dfbe5669bd57f3762", "BSD-3-Clause"),
    Package("pandas", "3.1.1", "4f1602f614bb83f443381dbcbb94c4ac764b2e50c8d6c965614c5cd83e328c47", "BSD-3-Clause"),
    Package("plotly", "7.1.0", "dbb7fa18afce40d0a8e80d1bf162eceb3faa0ce5a77fe741ad09a74cf78f53f3", "MIT"),
    Package("scikit-learn", "1.9.1", "52a0703bbc07ad27f560fa63fa68e4c54dd735bfbbf65b4dd3c225dc7547b6df", "BSD-3-Clause"),
    Package("scipy", "1.17.1", "43af8d1f3bea642559019edfe64e9b11192a8978efbd1539d7bc2aaa23d92de4", "BSD-3-Clause"),
    Package("sqlalchemy", "2.1.9", "3a24b459e52b3ac138f6a05e99a4bd0589443a1ae18041a59c1cfdee12134a2b", "MIT"),
    Package("statsmodels", "0.15.0", "b67886b66d9c7ca118526accedb5c6de7ffd74c015dc0492ea0b1690192b65da", "BSD-3-Clause"),
    Package("sympy", "1.14.0", "e091cc3e99d2141a0ba2847328f5479b05d94a6635cb96148ccb3f34671bd8f5", "BSD-3-Clause"),
    Package("transformers", "5.24.0", "ff5ebedf9359f94bb63772b6380eba6e7104d010cbbb2cb82c788817ea7486f6", "Apache-2.0"),
]
LEAST_BYTES = 1000  # of a file: a shorter one is a list of imports
# These choose the wheels of compiled packages, whatever Python and machine run the script.
PLATFORMS = ["manylinux2014_x86_64", "manylinux_2_24_x86_64", "manylinux_2_27_x86_64", "manylinux_2_28_x86_64"]
TARGET = ["--python-version", "3.11", "--implementation", "cp", *(word for platform in PLATFORMS for word in ("--platform", platform))]


def wheel_of(folder, package):
    """The package's wheel in the folder, if it is there and its checksum is right."""
    stem = f"{package.name.replace('-', '_')}-{package.version}-"
    for path in sorted(folder.glob("*.whl")):
        if path.name.lower().startswith(stem) and hashlib.sha256(path.read_bytes()).hexdigest() == package.sha256:
            return path
    return None


def download(folder, packages):
    """Puts the wheels that are missing into the folder; pip checks their hashes."""
    missing = [package for package in packages if wheel_of(folder, package) is None]
    if not missing:
        return
    requirements = folder / "requirements.txt"
    requirements.write_text("".join(f"{one.name}=={one.version} --hash=sha256:{one.sha256}\n" for one in missing), encoding="utf-8")
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "download", "--quiet", "--no-deps", "--require-hashes",
               "--only-binary", ":all:", *TARGET, "--dest", str(folder), "-r", str(requirements)]
    if subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode != 0:
        sys.exit("data/python_sources.py: pip could not fetch the wheels (its message is above)")


def sources(wheel):
    """Yields (path, text) of the Python files of a wheel that are worth reading, in the order of their paths."""
    with zipfile.ZipFile(wheel) as archive:
        for name in sorted(archive.namelist()):
            content = archive.read(name) if name.endswith(".py") else b""
            if len(content) < LEAST_BYTES:
                continue
            try:
                yield name, content.decode("utf-8").replace("\r\n", "\n")
            except UnicodeDecodeError:
                continue  # a test of encodings


def write_documents(output, folder, packages):
    """Each text once. Returns the number of documents and of bytes."""
    seen, count, size = set(), 0, 0
    for package in packages:
        for path, text in sources(wheel_of(folder, package)):
            digest = hashlib.sha256(text.encode()).digest()
            if digest in seen:
                continue
            seen.add(digest)
            document = f"# {path}\n{text}"
            output.write(json.dumps({"text": document}, ensure_ascii=False) + "\n")
            count += 1
            size += len(document.encode())
    return count, size


def main():
    names = [package.name for package in PACKAGES]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--packages", default=",".join(names), help="with commas (default: all, %(default)s)")
    arguments = parser.parse_args()
    wanted = arguments.packages.split(",")
    if unknown := [name for name in wanted if name not in names]:
        parser.error(f"--packages: {', '.join(unknown)} is none of {', '.join(names)}")
    packages = [package for package in PACKAGES if package.name in wanted]
    folder = arguments.output.parent / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    download(folder, packages)
    temporary = arguments.output.with_name(arguments.output.name + ".tmp")
    with open(temporary, "w", encoding="utf-8") as output:
        count, size = write_documents(output, folder, packages)
    os.replace(temporary, arguments.output)
    print(f"{arguments.output}: {count} documents, {size / 1e6:.1f} MB of text")


if __name__ == "__main__":
    main()
