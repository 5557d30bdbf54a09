"""data/python_sources.py: a corpus from wheels whose hashes are known."""

import hashlib
import importlib.util
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "data" / "python_sources.py"
LONG = "".join(f"line {number}\n" for number in range(200))


@pytest.fixture
def sources(monkeypatch, tmp_path):
    specification = importlib.util.spec_from_file_location("python_sources", SCRIPT)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    monkeypatch.setattr(sys, "argv", ["python_sources.py", str(tmp_path / "out.jsonl")])
    return module


def wheel(folder, name, version, files):
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for file, content in files.items():
            archive.writestr(file, content)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_it_holds_each_source_once_and_nothing_else(sources, tmp_path, monkeypatch, capsys):
    """Sound wheels that exist are not fetched. Left out are other files, short ones, other encodings, and repetitions."""
    files = {"p/b.py": LONG.replace("\n", "\r\n") + "end\n", "p/a.py": LONG, "p/copy_of_a.py": LONG, "p/__init__.py": "import x\n", "p/notes.txt": LONG, "p/latin.py": b"# \xe9\n" * 400}
    first = wheel(tmp_path / "wheels", "Some_Package", "1.0", files)
    second = wheel(tmp_path / "wheels", "other", "2.0", {"q/a.py": LONG, "q/c.py": LONG + "other\n"})
    packages = [sources.Package("some-package", "1.0", first, "MIT"), sources.Package("other", "2.0", second, "MIT")]
    monkeypatch.setattr(sources, "PACKAGES", packages)
    sources.main()
    texts = [json.loads(line)["text"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert texts == [f"# p/a.py\n{LONG}", f"# p/b.py\n{LONG}end\n", f"# q/c.py\n{LONG}other\n"]
    assert "3 documents" in capsys.readouterr().out


def test_a_wheel_of_another_hash_is_not_taken(sources, tmp_path, monkeypatch):
    wheel(tmp_path / "wheels", "some_package", "1.0", {"p/a.py": LONG})
    monkeypatch.setattr(sources, "PACKAGES", [sources.Package("some-package", "1.0", "0" * 64, "MIT")])
    asked = []
    monkeypatch.setattr(sources.subprocess, "run", lambda command, **_: asked.append(command) or subprocess.CompletedProcess(command, 1))
    with pytest.raises(SystemExit, match="pip could not fetch"):
        sources.main()
    assert "--require-hashes" in asked[0] and (tmp_path / "wheels/requirements.txt").read_text() == f"some-package==1.0 --hash=sha256:{'0' * 64}\n"
    assert not (tmp_path / "out.jsonl").exists()


def test_an_unknown_package_is_refused(tmp_path):
    done = subprocess.run([sys.executable, SCRIPT, tmp_path / "out.jsonl", "--packages", "sympy,nope"], capture_output=True, text=True)
    assert done.returncode == 2 and "nope is none of astropy" in done.stderr and not (tmp_path / "out.jsonl").exists()
