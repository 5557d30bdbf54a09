"""prepare and tokenizer as a user runs them: what they write and print, what they refuse, and being stopped."""

import json
import os
import random
import signal
import subprocess
import time

import numpy as np
import pytest
import sentencepiece

from conftest import BINARY, Program

EOS = 2
# Texts that break tokenizers: blanks of all kinds, sentencepiece's own marks, reserved names, NUL, joined and combining
# characters, the ends of Unicode's planes.
HOSTILE = (
    " leading\n\n\n  two  blanks\ttab\r\nCR LF\n\x00NUL\x00\x00 \u2581mark\u2581\u2581 \u2585 <s></s><unk><0x41><0x0A>\n"
    "naïve e\u0301 한국어 日本語のテキスト עברית \u200f\u202e \U0001f469\u200d\U0001f680 \ufeff \ufffd \U0010ffff\u0800\x7f"
    + "x" * 5000 + "\u3042" * 3000 + " " * 300 + "\n" * 50 + "end "
)


SYLLABLES = ["ba", "ko", "li", "men", "ra", "sto", "tu", "vey", "zi", "nor"]
WORDS = ["".join(random.Random(seed).choices(SYLLABLES, k=1 + seed % 4)) for seed in range(2000)]


def make_text(seed, num_words):
    rng = random.Random(seed)
    lines = [" ".join(rng.choices(WORDS, k=12)) + ".\n" for _ in range(num_words // 12)]
    return "".join(line + ("\n" if number % 5 == 4 else "") for number, line in enumerate(lines))


@pytest.fixture(scope="module")
def shared(tmp_path_factory):
    """A tokenizer with 400 pieces, and book.txt with 12 MB."""
    program = Program(tmp_path_factory.mktemp("prepare"))
    (program.directory / "small.txt").write_text(make_text(1, 20_000))
    (program.directory / "book.txt").write_text(make_text(2, 50_000) * 35)
    out, _ = program.run("tokenizer", "train", "--input", "small.txt", "--output", "t.model", "--vocab-size", 400, "--json")
    assert json.loads(out) == {"output": "t.model", "vocab_size": 400, "left_out": {"empty": 0, "bad": 0}}
    return program.directory


def prepare(program, shared, source, out, *options, code=0):
    return program.run("prepare", "--input", source, "--tokenizer", shared / "t.model", "--out", out, *options, code=code)


def tokens_of(folder, split):
    parts = [np.fromfile(path, dtype="<u2", offset=1024) for path in sorted(folder.glob(f"{split}_*.bin"))]
    return np.concatenate(parts) if parts else np.zeros(0, dtype="<u2")


def bytes_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def write_jsonl(path, texts):
    path.write_text("".join(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts))


def test_shards_hold_what_sentencepiece_makes_of_the_text_and_the_summary_counts_it(program, shared):
    texts = [make_text(seed, 500) for seed in range(40)] + ["한국어 日本語 naïve \U0001f680"]
    write_jsonl(program.directory / "in.jsonl", texts)
    out, _ = prepare(program, shared, "in.jsonl", "out", "--json", "--validation-fraction", "0.1", "--shard-tokens", "3000")
    summary = json.loads(out)
    library = sentencepiece.SentencePieceProcessor(model_file=str(shared / "t.model"))
    documents = [[*library.encode(text), EOS] for text in texts]
    written = {split: tokens_of(program.directory / "out", split) for split in ("train", "validation")}
    split_up = {split: np.split(tokens, np.flatnonzero(tokens == EOS) + 1)[:-1] for split, tokens in written.items()}
    # Each split has its documents in the order of the input.
    for split, found in split_up.items():
        remaining = iter(documents)
        assert all(any(list(ids) == document for document in remaining) for ids in found)
        assert summary[split] == {"documents": len(found), "tokens": len(written[split]),
                                  "shards": len(list((program.directory / "out").glob(f"{split}_*.bin")))}
    assert len(split_up["train"]) + len(split_up["validation"]) == len(texts) and len(split_up["validation"]) in (4, 5)
    assert summary["text_bytes"] == sum(len(text.encode()) for text in texts)
    assert summary["encoded_tokens"] == sum(map(len, documents)) and summary["kept_shards"] == 0
    assert summary["left_out"] == {"empty": 0, "bad": 0, "first_bad": []}
    assert json.loads((program.directory / "out/prepare.json").read_text())["complete"] is True


def test_any_number_of_threads_gives_the_same_bytes(program, shared):
    for threads in (1, 2, 5):
        prepare(program, shared, shared / "small.txt", f"out{threads}", "--threads", threads, "--shard-tokens", 9999)
    assert bytes_of(program.directory / "out1") == bytes_of(program.directory / "out2") == bytes_of(program.directory / "out5")


@pytest.mark.parametrize("name, content, words", [
    ("in.jsonl", b'{"text": "fine words"}\n{"text": \n{"txt": "x"}\n{"text": "\\ud800"}\n', ["in.jsonl:2", "not JSON"]),
    ("in.txt", b"fine words\n\n\xff\xfe no UTF-8\n", ["in.txt", "not valid UTF-8 at byte 12 (0xFF)"]),
    ("in.jsonl", b'{"text": "fine words"}\n{"text": "\xc3\x28"}\n', ["in.jsonl:2", "not valid UTF-8"]),
    ("in.jsonl", b'{"text": "fine words"}\n{"text": "' + b"x" * (17 << 20) + b'"}\n', ["in.jsonl:2", "16.0 MiB"]),
])
def test_bad_documents_are_refused_or_skipped_and_counted(program, shared, name, content, words):
    (program.directory / name).write_bytes(content)
    options = ["--validation-fraction", 0, "--split-documents-at", 16]
    for choice in ([], ["--on-bad", "refuse"]):
        _, err = prepare(program, shared, name, "out", *options, *choice, code=3)
        assert all(word in err for word in [*words, "--on-bad skip"]), err
        assert list((program.directory / "out").iterdir()) == []
    bad = content.count(b"\n") - 1 if name == "in.jsonl" else 1
    if name == "in.jsonl":
        out, _ = prepare(program, shared, name, "out", "--json", *options, "--on-bad", "skip")
        left_out = json.loads(out)["left_out"]
        assert left_out["bad"] == bad and words[0] in left_out["first_bad"][0] and json.loads(out)["train"]["documents"] == 1
    _, err = prepare(program, shared, name, "out", "--on-bad", "ignore", code=2)
    assert "refuse" in err and "skip" in err


def test_blank_lines_end_a_document_only_beyond_its_size(program, shared):
    paragraphs = [f"Paragraph {i}: the words of it." for i in range(1200)]

    def documents(text, *options):
        (program.directory / "paragraphs.txt").write_text(text)
        out, _ = prepare(program, shared, "paragraphs.txt", "out", "--json", "--overwrite", "--validation-fraction", 0, *options)
        return json.loads(out)["train"]["documents"]

    assert documents("\n\n".join(paragraphs[:50])) == 1
    # A paragraph and its blank line have at most 34 bytes: cuts are 16 KiB to 16 KiB + 34 apart.
    text = "\n\n".join(paragraphs)
    assert 2 * 16384 + 68 < len(text) < 3 * 16384 and documents(text) == 3
    assert documents(text, "--split-documents-at", 0) == 1
    assert documents("\nEND\n".join(paragraphs[:50]), "--document-separator", "END") == 50


def test_files_that_cannot_be_used(program, shared):
    text = shared / "small.txt"
    for model, word in (("absent.model", "absent.model"), (text, "not a sentencepiece model")):
        for command in (["prepare", "--input", text, "--out", "out"], ["tokenizer", "encode", "x"], ["tokenizer", "decode", "1"]):
            _, err = program.run(*command, "--tokenizer", model, code=3)
            assert word in err and "internal error" not in err
    for source, code in (("absent.txt", 3), ("absent*.jsonl", 3), (BINARY, 2), (program.directory, 2)):
        prepare(program, shared, source, "out", code=code)
    prepare(program, shared, text, "/proc/out", code=1)
    for wrong in (["--validation-fraction", "1"], ["--shard-tokens", "0"], ["--threads", "-1"], ["--split-documents-at", "1GB"]):
        prepare(program, shared, text, "out", *wrong, code=2)


def test_finished_shards_are_replaced_only_when_told_to(program, shared):
    out = program.directory / "out"
    prepare(program, shared, shared / "small.txt", "out", "--shard-tokens", 9999)
    before = bytes_of(out)
    _, err = prepare(program, shared, shared / "small.txt", "out", "--shard-tokens", 5000, code=2)
    assert "--overwrite" in err and "shard_tokens" in err and bytes_of(out) == before
    prepare(program, shared, shared / "small.txt", "fresh", "--shard-tokens", 5000)
    prepare(program, shared, shared / "small.txt", "out", "--shard-tokens", 5000, "--overwrite")
    assert bytes_of(out) == bytes_of(program.directory / "fresh") != before


def test_train_refuses_shards_whose_replacement_was_stopped_halfway(program, shared):
    """A folder in the place of a shard stops the exchange halfway, as a kill would."""
    out = program.directory / "out"
    prepare(program, shared, shared / "small.txt", "out", "--shard-tokens", 5000)
    (out / "train_000001.bin").unlink()
    (out / "train_000001.bin" / "in the way").mkdir(parents=True)
    again = ["out", "--shard-tokens", 5000, "--seed", 2, "--overwrite"]
    _, err = prepare(program, shared, shared / "small.txt", *again, code=1)
    assert "train_000001.bin" in err
    changes = [{"model": {"vocab_size": 400}, "data": {"train": [str(out / "train_000000.bin")]}}]
    _, err = program.train("--run-dir", "run", changes=changes, code=3)
    assert "prepare.json" in err and "not complete" in err
    os.rename(out / "train_000001.bin", program.directory / "moved")
    prepare(program, shared, shared / "small.txt", *again[:-1], code=2)  # finishes the exchange; the result is already as asked
    prepare(program, shared, shared / "small.txt", "fresh", "--shard-tokens", 5000, "--seed", 2)
    assert bytes_of(out) == bytes_of(program.directory / "fresh")
    program.train("--run-dir", "run", changes=changes)


@pytest.mark.parametrize("number, code", [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_a_stopped_call_is_continued_to_the_same_bytes_without_making_finished_shards_again(program, shared, number, code):
    out = program.directory / "out"
    options = ["--shard-tokens", 50_000, "--json"]
    prepare(program, shared, shared / "book.txt", "whole", *options)
    whole = bytes_of(program.directory / "whole")
    process = program.start("prepare", "--input", shared / "book.txt", "--tokenizer", shared / "t.model", "--out", "out", *options)
    while process.poll() is None and not (out / "train_000005.bin").exists():
        time.sleep(0.0005)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert process.returncode == code, f"it finished before the signal, or did not stop as asked\n{err}"
    found = {name: data for name, data in bytes_of(out).items() if name.endswith(".bin") and not name.startswith(".")}
    assert len(found) >= 6 and all(whole[name] == data for name, data in found.items()), "half a shard under its final name"
    assert json.loads((out / "prepare.json").read_text())["complete"] is False
    if number != signal.SIGKILL:
        assert f"stopped on request after {len(found)} finished shard" in err
        assert not [path for path in out.iterdir() if path.name.startswith(".")]
    stdout, err = prepare(program, shared, shared / "book.txt", "out", *options)
    assert bytes_of(out) == whole
    summary = json.loads(stdout)
    # After a kill between a shard and its record, that one shard is made again.
    assert len(found) - 1 <= summary["kept_shards"] <= len(found)
    assert f"after its {summary['kept_shards']} finished shards" in err
    kept = sum(shard["tokens"] for shard in json.loads(whole["prepare.json"])["shards"]
               if shard["file"] in sorted(found)[:summary["kept_shards"]])
    assert summary["encoded_tokens"] == summary["train"]["tokens"] + summary["validation"]["tokens"] - kept
    assert summary["encoded_tokens"] < summary["train"]["tokens"]


def test_a_stop_before_the_first_shard_leaves_nothing_in_the_way(program, shared):
    process = program.start("prepare", "--input", shared / "book.txt", "--tokenizer", shared / "t.model", "--out", "out")
    while process.poll() is None and not (program.directory / "out/prepare.json").exists():
        time.sleep(0.0005)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130 and list((program.directory / "out").iterdir()) == []


def test_thousands_of_files_are_one_corpus(program, shared):
    folder = program.directory / "many"
    folder.mkdir()
    texts = [f"number {index} of many\n{make_text(index, 24)}" for index in range(3000)]
    for index, text in enumerate(texts):
        (folder / f"{index:05}.txt").write_text(text)
    write_jsonl(program.directory / "one.jsonl", texts)
    out, _ = prepare(program, shared, "many/*.txt", "out", "--json")
    assert json.loads(out)["train"]["documents"] + json.loads(out)["validation"]["documents"] == 3000
    prepare(program, shared, "one.jsonl", "one")
    for split in ("train", "validation"):
        assert np.array_equal(tokens_of(program.directory / "out", split), tokens_of(program.directory / "one", split))


@pytest.mark.parametrize("line_break", ["\n", " "])
def test_memory_does_not_grow_with_the_input_and_an_estimate_comes_early(program, shared, line_break):
    """200 MB, in lines or as one line. Above the program's libraries it may take what is read ahead, 16 MiB, with its tokens and
    buffers: 120 MB. Holding the input would take 200 MB."""
    block = make_text(1, 50_000).replace("\n\n", "\n").replace("\n", line_break).encode()
    with open(program.directory / "large.txt", "wb") as file:
        while file.tell() < 200_000_000:
            file.write(block)
    _, _, base = program.run_measured("prepare", "--help")
    _, err, peak = program.run_measured("prepare", "--input", "large.txt", "--tokenizer", shared / "t.model", "--out", "out")
    (program.directory / "large.txt").unlink()
    assert peak - base < 120e6, f"{peak / 1e6:.0f} MB, {base / 1e6:.0f} MB of them before any text"
    estimate = [line for line in err.splitlines() if "estimate after" in line]
    assert len(estimate) == 1 and " of 19" in estimate[0] and "left" in estimate[0], err
    made = sum(len(tokens_of(program.directory / "out", split)) for split in ("train", "validation"))
    # The text repeats, so its first part represents all of it: the estimate is only off by its rounding to 3 digits.
    assert float(estimate[0].split(" tokens in all")[0].split()[-1].rstrip("M")) == pytest.approx(made / 1e6, rel=0.02)


def test_a_tokenizer_that_takes_texts_whole_has_smaller_documents(program, shared):
    """Without the limit sentencepiece takes about 300 MB for a document of 1 MiB, in each thread."""
    (program.directory / "words.txt").write_text(make_text(1, 3000))
    sentencepiece.SentencePieceTrainer.train(input=str(program.directory / "words.txt"), minloglevel=2, vocab_size=300,
                                             model_prefix=str(program.directory / "uni"), hard_vocab_limit=False)
    arguments = ["--split-documents-at", 0, "--tokenizer"]
    (program.directory / "long.txt").write_text("1 2 " * (1 << 18) + "3")
    _, err = program.run("prepare", "--input", "long.txt", "--out", "out", *arguments, "uni.model", code=3)
    assert "1.0 MiB" in err and "--split-documents-at" in err
    program.run("prepare", "--input", "long.txt", "words.txt", "--out", "ours", *arguments, shared / "t.model")


def test_encode_and_decode_are_pipes_that_return_hostile_text(program, shared):
    command = [str(BINARY), "tokenizer"]
    for text in (HOSTILE, "", "\n", " ", "\x00"):
        encoded = subprocess.run([*command, "encode", "--tokenizer", shared / "t.model"], input=text.encode(), capture_output=True)
        assert encoded.returncode == 0, encoded.stderr
        decoded = subprocess.run([*command, "decode", "--tokenizer", shared / "t.model"], input=encoded.stdout, capture_output=True)
        assert decoded.returncode == 0 and decoded.stdout == text.encode()
    invalid = subprocess.run([*command, "encode", "--tokenizer", shared / "t.model"], input=b"fine \xff", capture_output=True)
    assert invalid.returncode == 3 and b"not valid UTF-8: byte 5 (0xFF)" in invalid.stderr and invalid.stdout == b""


def test_encode_prints_ids_pieces_and_json(program, shared):
    library = sentencepiece.SentencePieceProcessor(model_file=str(shared / "t.model"))
    text = "bako livey 한\n"
    ids = library.encode(text)
    encode = ["tokenizer", "encode", "--tokenizer", shared / "t.model", text]
    assert program.run(*encode)[0] == " ".join(map(str, ids)) + "\n"
    assert json.loads(program.run(*encode, "--json")[0]) == {"ids": ids}
    assert json.loads(program.run(*encode, "--json", "--pieces")[0]) == {"ids": ids, "pieces": library.id_to_piece(ids)}
    assert json.loads(program.run("tokenizer", "decode", "--tokenizer", shared / "t.model", "--json", *ids)[0]) == {"text": text}


@pytest.mark.parametrize("ids, words", [("3 400", ["400", "0 to 399"]), ("-1", ["-1", "0 to 399"]), ("1 x", ['"x"']),
                                        ("1.5", ['"1.5"']), ("99999999999999", ['"99999999999999"'])])
def test_ids_that_are_none_are_refused_by_name(program, shared, ids, words):
    result = subprocess.run([str(BINARY), "tokenizer", "decode", "--tokenizer", shared / "t.model"], input=ids, capture_output=True, text=True)
    assert result.returncode == 3 and result.stdout == "" and all(word in result.stderr for word in words), result.stderr


def test_a_tokenizer_that_cannot_be_trained_or_written(program, shared):
    train = ["tokenizer", "train", "--input", shared / "small.txt", "--output"]
    _, err = program.run(*train, "t.model", "--vocab-size", 100_000, code=3)
    assert "gives at most" in err
    program.run(*train, "t.model", "--vocab-size", 100, code=2)
    program.run(*train, "t.model", "--max-bytes", 10, code=2)
    program.run(*train, "/proc/t.model", "--vocab-size", 300, code=1)
    assert not (program.directory / "t.model").exists()
