"""Every file that the program reads, changed at random places by accident or by an attacker (mutations.py): a command then works,
or reports what is wrong in a short message, with exit code 2 or 3, within seconds and bounded memory.

SSGPT_MUTANTS sets the number of changed files for each reader, SSGPT_MUTANTS_SEED the seed, and SSGPT_FORK_SERVER the binary, for
example of a build with sanitizers."""

import ctypes
import dataclasses
import itertools
import json
import os
import shutil
from collections import Counter

import numpy as np
import pytest
import sentencepiece

from conftest import FORK_SERVER, LENGTH, VOCAB, Program, make_program
from fork_server import ForkServer
from manifests import sign, store_products
from mutations import mutants

SERVER = os.environ.get("SSGPT_FORK_SERVER", FORK_SERVER)
MUTANTS = int(os.environ.get("SSGPT_MUTANTS", 200))
SEED = int(os.environ.get("SSGPT_MUTANTS_SEED", 1))
SECONDS = 20  # for one command, on a busy machine: a thousand times what it takes
MEMORY = 2 << 30  # bytes, of which LibTorch's libraries need about 300 MB
LONGEST_LINE = 4200  # core::message_text allows 4 KiB, after the time
CHECKPOINT = "run/checkpoints/step-00000020"


@dataclasses.dataclass(frozen=True)
class Reader:
    """Commands that read one file. sign: make the checkpoint's manifest fit the file, so that what the checksums protect is
    reached. packed: a .zst file, of which the content is changed as well as the bytes. Paths are relative to the folder of
    `place`; "out" is new for each mutant. copies: a folder that the commands write into."""

    file: str
    kind: str
    commands: list
    sign: bool = False
    packed: bool = False
    copies: str | None = None


DRY = ["train", "--config", "config.json", "--run-dir", "out", "--dry-run"]
COMPARE = [["compare", "run", "other"], ["inspect", "run"]]
PREPARE = ["prepare", "--tokenizer", "tokenizer.model", "--out", "out", "--threads", "1", "--input"]
RESUME = ["train", "--config", "config.json", "--run-dir", "run", "--resume", "auto", "--set", "train.max_steps=21"]

READERS = {
    "config_json": Reader("config.json", "json", [DRY]),
    "config_yaml": Reader("config.yaml", "text", [["train", "--config", "config.yaml", "--run-dir", "out", "--dry-run"]]),
    "sweep_config": Reader("sweep_config.json", "json", [["sweep", "--config", "sweep_config.json", "--run-dir", "out", "--list"]]),
    "manifest": Reader(f"{CHECKPOINT}/manifest.json", "json", [["inspect", CHECKPOINT], [*DRY, "--resume", CHECKPOINT]]),
    "state": Reader(f"{CHECKPOINT}/trainer/state.json", "json", [["inspect", CHECKPOINT], [*DRY, "--resume", CHECKPOINT]], sign=True),
    "model_config": Reader(f"{CHECKPOINT}/config.json", "json", [["inspect", CHECKPOINT]], sign=True),
    "weights": Reader(f"{CHECKPOINT}/model.safetensors", "safetensors", [["inspect", CHECKPOINT]], sign=True),
    "moments": Reader(f"{CHECKPOINT}/trainer/optimizer-00000-of-00001.safetensors", "safetensors", [RESUME], sign=True, copies="run"),
    "damaged_checkpoint": Reader(f"{CHECKPOINT}/model.safetensors", "bytes", [["inspect", CHECKPOINT]]),
    "foreign_config": Reader("model/config.json", "json", [["inspect", "model"]]),
    "foreign_weights": Reader("model/model.safetensors", "safetensors", [
        ["inspect", "model"], ["convert", "--checkpoint", "model", "--attention", "ssmax", "--out", "out"]]),
    "llmc_shard": Reader("train.bin", "bytes", [["inspect", "train.bin"], DRY]),
    "plain_shard": Reader("plain.bin", "bytes", [["inspect", "plain.bin"], [*DRY, "--set", "data.train=[plain.bin]"]]),
    "prepare_record": Reader("prepared/prepare.json", "json", [
        ["inspect", "prepared"], [*DRY, "--set", "data.train=[prepared/train_*.bin]"]]),
    "tokenizer": Reader("tokenizer.model", "bytes", [
        ["tokenizer", "encode", "--tokenizer", "tokenizer.model", "the text of a line"], ["inspect", "tokenizer.model"]]),
    "jsonl": Reader("corpus.jsonl", "lines", [[*PREPARE, "corpus.jsonl"]]),
    "zstd": Reader("corpus.jsonl.zst", "lines", [[*PREPARE, "corpus.jsonl.zst"]], packed=True),
    "plain_text": Reader("corpus.txt", "text", [[*PREPARE, "corpus.txt"]]),
    "metrics": Reader("run/metrics.jsonl", "lines", COMPARE),
    "resumed_metrics": Reader("run/metrics.jsonl", "lines", [RESUME], copies="run"),
    "samples": Reader("run/samples.jsonl", "lines", [RESUME], copies="run"),
    "run_record": Reader("run/run.json", "json", COMPARE),
    "run_config": Reader("run/config.yaml", "text", COMPARE),
    "sweep_record": Reader("sweep/sweep.json", "json", [["inspect", "sweep"], ["compare", "sweep"]]),
}


def compressed(data):
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_compress.restype = library.ZSTD_compressBound.restype = ctypes.c_size_t
    bound = library.ZSTD_compressBound(ctypes.c_size_t(len(data)))
    frame = ctypes.create_string_buffer(bound)
    size = library.ZSTD_compress(frame, ctypes.c_size_t(bound), data, ctypes.c_size_t(len(data)), 3)
    return frame.raw[:size]


@pytest.fixture(scope="module")
def place(made_once, tmp_path_factory):
    """A folder with one sound file of each kind."""
    return Program(shutil.copytree(made_once("sound", make_sound), tmp_path_factory.mktemp("mutated"), dirs_exist_ok=True))


def make_sound(folder):
    """Files name each other by paths in this folder, so that they also do in a copy."""
    program = make_program(folder)
    lines = [f"{i} the text of a line, {i * i} and a half" for i in range(60)]
    (folder / "corpus.txt").write_text("\n\n".join(lines))
    (folder / "corpus.jsonl").write_text("".join(json.dumps({"id": i, "text": line}) + "\n" for i, line in enumerate(lines)))
    (folder / "corpus.jsonl.zst").write_bytes(compressed((folder / "corpus.jsonl").read_bytes()))
    sentencepiece.SentencePieceTrainer.train(input=str(folder / "corpus.txt"), model_prefix=str(folder / "tokenizer"), vocab_size=VOCAB - 24,
                                             hard_vocab_limit=False, minloglevel=2, byte_fallback=False)
    (np.arange(9 * LENGTH) % VOCAB).astype("<u2").tofile(folder / "plain.bin")
    program.run("prepare", "--tokenizer", "tokenizer.model", "--out", "prepared", "--input", "corpus.jsonl")
    sampled = {"evaluate": {"every": 10, "batches": 1, "samples": {"prompts": ["the"], "max_tokens": 4}},
               "data": {"tokenizer": "tokenizer.model", "train": ["train.bin"], "validation": ["validation.bin"]}}
    for name, seed in (("run", 7), ("other", 8)):
        program.train("--run-dir", name, changes=[sampled, {"run": {"seed": seed}}], name=f"{name}.json")
    store_products(folder / CHECKPOINT)
    shutil.copy(folder / "run.json", folder / "config.json")
    shutil.copy(folder / "run/config.yaml", folder / "config.yaml")
    (folder / "model").mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(folder / CHECKPOINT / name, folder / "model")
    kinds = {kind: {"model.attention.kind": kind} for kind in ("softmax", "ssmax")}
    sweep = {"base": "short.json", "variants": kinds, "seeds": [1, 2], "jobs": 1}
    program.config({"data": {"train": ["train.bin"]}, "train": {"max_steps": 4}}, name="short.json")
    (folder / "sweep_config.json").write_text(json.dumps(sweep))
    program.run("sweep", "--config", "sweep_config.json", "--run-dir", "sweep")


def faults(answer, errors):
    """What a user could not accept in how a command ended."""
    found = []
    if answer["signal"]:
        found.append(f"signal {answer['signal']}")
    elif answer["code"] not in (0, 2, 3):
        found.append(f"exit code {answer['code']}")
    if answer["max_rss"] > MEMORY:
        found.append(f"{answer['max_rss']} bytes of memory")
    try:
        text = errors.decode()
    except UnicodeDecodeError:
        return [*found, "a message that is not UTF-8"]
    if any(ord(character) < 32 and character != "\n" for character in text):
        found.append("control characters in a message")
    if max(map(len, text.splitlines()), default=0) > LONGEST_LINE:
        found.append("an endless line")
    found += [f"a message with {word}" for word in ("json.exception", "internal error", "std::", "runtime error:") if word in text]
    return found


@pytest.mark.parametrize("name", READERS)
def test_a_changed_file_is_read_or_refused(place, name, tmp_path):
    reader = READERS[name]
    target = place.directory / reader.file
    original = target.read_bytes()
    manifest = place.directory / CHECKPOINT / "manifest.json"
    signed = manifest.read_bytes()
    if reader.copies:
        shutil.copytree(place.directory / reader.copies, tmp_path / "kept")
    if reader.packed:
        plain = mutants(target.with_suffix("").read_bytes(), reader.kind, SEED)
        changed = itertools.chain.from_iterable(zip(mutants(original, "bytes", SEED), map(compressed, plain)))
    else:
        changed = mutants(original, reader.kind, SEED)
    codes, failures = Counter(), []
    with ForkServer(SERVER, SECONDS, place.environment) as server:
        for number, data in enumerate(itertools.islice(changed, MUTANTS)):
            target.write_bytes(data)
            if reader.sign:
                sign(place.directory / CHECKPOINT)
            for command in reader.commands:
                answer, _, errors = server.run(command, place.directory)
                codes[answer["code"]] += 1
                for fault in faults(answer, errors):
                    failures.append(f"mutant {number}, {command[0]}: {fault}: {errors[-300:]!r}")
            shutil.rmtree(place.directory / "out", ignore_errors=True)
            if reader.copies:
                shutil.rmtree(place.directory / reader.copies)
                shutil.copytree(tmp_path / "kept", place.directory / reader.copies)
    target.write_bytes(original)
    manifest.write_bytes(signed)
    print(f"{name}: {dict(codes)}")
    assert not failures, f"{len(failures)} failures\n" + "\n".join(failures[:10])
    assert codes[2] + codes[3] > 0, "no change was noticed: were the files reached?"
