"""tokenizer.json, tokenizer_config.json and generation_config.json of checkpoints, read by transformers: our ids, our text,
our continuations."""

import itertools
import json
import os
import random
import shutil
import tempfile

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_MODULES_CACHE", tempfile.mkdtemp(prefix="ssgpt-modules-"))

import numpy as np
import pytest
import sentencepiece
import tokenizers
import transformers

from conftest import ROOT, Program, checkpoints, write_shard
from documented import blocks
from test_generate import generate
from test_prepare import tokens_of, write_jsonl

BOS, EOS = 1, 2
FILES = ("generation_config.json", "tokenizer.json", "tokenizer_config.json", "tokenizer.model")
VOCABULARY = 900

# Settings with which sentencepiece's own trainer makes models as others have them.
PLAIN = {"model_type": "bpe", "byte_fallback": True, "normalization_rule_name": "identity", "remove_extra_whitespaces": False,
         "add_dummy_prefix": False, "vocab_size": VOCABULARY}  # fmt: skip
FOREIGN = {
    "llama": {"add_dummy_prefix": True, "split_digits": True, "allow_whitespace_only_pieces": True},
    "breaks": {"add_dummy_prefix": True, "user_defined_symbols": ["\n", "\n\n"]},
    "taken-whole": {"user_defined_symbols": ["<|user|>", "<|end|>", "tion", "ab", "aba", "\n", "\n\n\n"],
                    "control_symbols": ["<sep>"], "pad_id": 3},
}  # fmt: skip
REFUSED = {
    "unigram": ({"model_type": "unigram"}, "not a byte-pair model"),
    "default": ({"normalization_rule_name": "nmt_nfkc", "remove_extra_whitespaces": True}, "normalization_rule_name"),
    "no-bytes": ({"byte_fallback": False}, "byte_fallback"),
    "whole-after-blank": ({"add_dummy_prefix": True, "user_defined_symbols": ["<|end|>"]}, "'<|end|>'"),
    "unknown-of-one-character": ({"unk_piece": "\u2047"}, "'\u2047'"),
    "control-of-one-character": ({"control_symbols": ["\u00a7"]}, "'\u00a7'"),
}

HOSTILE = [
    " ", "  ", " a", "a ", "  a  b   c    ", "\n", "\n\n\n\n\n", " \n \n", "\t", "\t\t a\t", "\r\n\r\n", "\x00", "a\x00b\x00\x00",
    "\x01\x02\x1f\x7f\x80\x9f", "\u2581", "a\u2581b \u2581\u2581 ", "\u2585", "</s>", "a</s> <s>b<unk>", "<0x41><0x0A>", "<pad><sep>",
    "<|user|>hi<|end|> <|user|>", "abababa", "\ufeffx", "\ufffd", "e\u0301\u0301o\u0308", "\u00e9 \u1e9b\u0323 \ufb01 \uff21 \u212b",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f1e9\U0001f1ea \U0001f44d\U0001f3fd", "\u0378\U000e0fff\U0010ffff",
    "\u4e2d\u6587 \u65e5\u672c\u8a9e \ud55c\uad6d\uc5b4 \u1100\u1161\u11a8", "\U00013080\U0001f701\ua980\u0f40\u0f72",
    "\u200f\u202e\u05e2\u05d1\u05e8\u05d9\u05ea \u0627\u0644\u0639\u0631\u0628\u064a\u0629", "\xa0\u2003\u3000\u2028\u2029\x0b\x0c\x85 x",
    "3.14159 2024-01-01 0x1F", "naïve café", "x" * 3000 + " " * 300 + "\n" * 60 + "\u3042" * 500,
]  # fmt: skip


def training_text():
    """The manual, and words of two letters, whose pieces can be made in many ways and overlap."""
    rng = random.Random(1)
    words = ["".join(rng.choices("ab", k=rng.randint(2, 9))) for _ in range(150)]
    manual = "".join(path.read_text() for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))])
    return manual + "\n".join(" ".join(rng.choices(words, k=10)) for _ in range(400)) + "\n"


def train_foreign(path, settings, lines):
    sentencepiece.SentencePieceTrainer.train(sentence_iterator=iter(lines), model_prefix=str(path.with_suffix("")), num_threads=1,
                                             minloglevel=2, hard_vocab_limit=False, **{**PLAIN, **settings})  # fmt: skip


def make_models(folder):
    program, text = Program(folder), training_text()
    (folder / "text.txt").write_text(text)
    program.run("tokenizer", "train", "--input", "text.txt", "--output", "ours.model", "--vocab-size", VOCABULARY)
    lines = [line for line in text.replace("\u2581", "").splitlines() if line]
    for name, settings in {**FOREIGN, **{name: settings for name, (settings, _) in REFUSED.items()}}.items():
        train_foreign(folder / f"{name}.model", settings, lines)


@pytest.fixture(scope="session")
def models(made_once):
    """ours.model, and those of FOREIGN and REFUSED; to be read alone."""
    return made_once("hugging_face", make_models)


def library_of(model):
    return sentencepiece.SentencePieceProcessor(model_file=str(model))


def save_checkpoint(program, model, /, name="run", steps=1, **changes):
    """The newest checkpoint of a run of some steps with this tokenizer, from wide initial values; and what the run logged."""
    vocabulary = library_of(model).vocab_size()
    write_shard(program.directory / "train.bin", np.random.default_rng(3).integers(3, vocabulary, 20 * 64 + 1))
    base = {"model": {"vocab_size": vocabulary, "initializer_range": 0.4}, "data": {"tokenizer": str(model), "sequence_length": 64},
            "train": {"max_steps": steps}, "optimizer": {"schedule": {"warmup_steps": 0}}, "checkpoint": {"every": 1, "keep_last": 9}}  # fmt: skip
    _, err = program.train("--run-dir", name, changes=[base, changes])
    return checkpoints(program.directory / name)[-1], err


def random_texts(model, count):
    """Of pieces, hostile texts, and characters from all over Unicode."""
    rng, library = random.Random(7), library_of(model)
    pieces = [library.id_to_piece(i).replace("\u2581", " ") for i in range(library.vocab_size())]
    first_plane = [*range(0xD800), *range(0xE000, 0x10000)]
    draws = [lambda: rng.choice(pieces), lambda: rng.choice(pieces), lambda: rng.choice(HOSTILE[:-1]), lambda: rng.choice("ab"),
             lambda: rng.choice(" \n\t e"), lambda: chr(rng.choice(first_plane)),
             lambda: chr(rng.randrange(0x10000, 0x110000))]  # fmt: skip
    return ["".join(rng.choice(draws)() for _ in range(rng.randint(1, 30))) for _ in range(count)]


def is_blank(text):
    return not text.strip(" \t\r\n")


def encode(program, model, text):
    return json.loads(program.run("tokenizer", "encode", "--tokenizer", model, "--json", text)[0])["ids"]


def our_ids(program, model, texts):
    """Of each text, as they get into token shards: behind each comes EOS, which no text holds. Texts of blanks, which get
    into none, by the command."""
    written = [text for text in texts if not is_blank(text)]
    write_jsonl(program.directory / "texts.jsonl", written)
    program.run("prepare", "--input", "texts.jsonl", "--tokenizer", model, "--out", "shards", "--validation-fraction", 0)
    tokens = tokens_of(program.directory / "shards", "train")
    parts = np.split(tokens, np.flatnonzero(tokens == EOS) + 1)[:-1]
    ids = {text: encode(program, model, text) for text in dict.fromkeys(filter(is_blank, texts))}
    ids |= {text: part[:-1].tolist() for text, part in zip(written, parts, strict=True)}
    return [ids[text] for text in texts]


@pytest.mark.parametrize("name, kind", [*((name, "softmax") for name in ["ours", *FOREIGN]), ("ours", "ssmax")])
def test_transformers_gives_our_ids_and_our_texts(program, models, name, kind):
    """Thousands of hostile and random texts, against the shards that the program prepares and against sentencepiece; in a Llama,
    and in a model of its own type, which transformers looks up otherwise."""
    model, library = models / f"{name}.model", library_of(models / f"{name}.model")
    checkpoint, err = save_checkpoint(program, model, model={"attention": {"kind": kind}})
    assert "warning" not in err
    assert json.loads((checkpoint / "config.json").read_text())["model_type"] == {"softmax": "llama", "ssmax": "ssgpt"}[kind]
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint, trust_remote_code=kind == "ssmax")
    plain = tokenizers.Tokenizer.from_file(str(checkpoint / "tokenizer.json"))
    texts = HOSTILE + random_texts(model, 4000)
    ours, theirs = our_ids(program, model, texts), tokenizer(texts)["input_ids"]
    compared = 0
    for text, ids, found in zip(texts, ours, theirs, strict=True):
        assert found == ids, text
        assert plain.encode(text).ids == ids, text
        decoded = tokenizer.decode(ids)
        assert decoded == tokenizer.decode(ids, skip_special_tokens=True) == plain.decode(ids), text
        if name in ("ours", "taken-whole"):  # which keep all of a text
            assert decoded == text
        if "\u2581" not in text and "\0" not in text:  # where our ids are others than sentencepiece's, on purpose
            assert library.encode(text) == ids and library.decode(ids) == decoded, text
            compared += 1
    assert compared > 2000
    assert tokenizer("")["input_ids"] == [] == plain.encode("").ids


def test_the_commands_of_the_program_agree(program, models):
    checkpoint, _ = save_checkpoint(program, models / "ours.model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    for text in (" a  b\n\n\n", "a</s> <s>b<unk>", "a\u2581b \u4e2d\U0001f469\u200d\U0001f680\u0378", "The loss of a run."):
        ids = encode(program, checkpoint / "tokenizer.model", text)
        assert tokenizer(text)["input_ids"] == ids
        out, _ = program.run("tokenizer", "decode", "--tokenizer", checkpoint / "tokenizer.model", "--json", *ids)
        assert json.loads(out)["text"] == tokenizer.decode(ids) == text


def runs_of(ids, library):
    """Parts of the ids that are byte pieces, as bytes, or none, as a list."""
    for of_bytes, run in itertools.groupby(ids, key=library.is_byte):
        yield bytes(int(library.id_to_piece(i)[3:5], 16) for i in run) if of_bytes else list(run)


def decoded_bytes(run):
    """The text of a run of byte pieces in the library `tokenizers`: U+FFFD for each byte unless all are characters."""
    try:
        return run.decode()
    except UnicodeDecodeError:
        return "\ufffd" * len(run)


def is_mixed(run):
    """Whether byte pieces that are characters stand beside ones that are part of none, which sentencepiece tells apart."""
    return isinstance(run, bytes) and "\ufffd" in decoded_bytes(run) and run.decode(errors="ignore") != ""


def shown(ids, library):
    """The text of these ids in the library `tokenizers`, of a model that puts no blank before texts."""
    runs = runs_of([i for i in ids if not library.is_control(i)], library)
    return "".join(decoded_bytes(run) if isinstance(run, bytes) else library.decode(run) for run in runs)


@pytest.mark.parametrize("name", ["ours", *FOREIGN])
def test_any_ids_are_decoded_as_sentencepiece_does(program, models, name):
    """Also those that no text has: bytes that are no characters, <unk>, and EOS behind them."""
    library = library_of(models / f"{name}.model")
    checkpoint, _ = save_checkpoint(program, models / f"{name}.model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    rng, compared, broken = random.Random(8), 0, 0
    others = [i for i in range(library.vocab_size()) if not library.is_control(i)]
    texts = [i for i in others if not (library.is_byte(i) or library.is_unknown(i))]
    for _ in range(3000):
        # A model that puts a blank before texts begins none with anything else than a piece of text.
        ids = [rng.choice(texts), *(rng.choice(others if rng.random() < 0.6 else others[:200]) for _ in range(8))]
        ids += [EOS] * rng.randrange(2)
        if any(map(is_mixed, runs_of(ids, library))):
            continue
        expected = library.decode(ids)
        assert tokenizer.decode(ids, skip_special_tokens=True) == expected, ids
        compared, broken = compared + 1, broken + ("\ufffd" in expected)
    assert compared > 1000 and broken > 200


def test_special_tokens_are_those_of_the_model(program, models):
    checkpoint, _ = save_checkpoint(program, models / "ours.model")
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    library = library_of(models / "ours.model")
    assert (tokenizer.bos_token, tokenizer.bos_token_id) == ("<s>", library.bos_id()) == ("<s>", BOS)
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("</s>", library.eos_id()) == ("</s>", EOS)
    assert len(tokenizer) == tokenizer.vocab_size == library.vocab_size()
    assert tokenizer.decode([5, EOS]) == tokenizer.decode([5]) + "</s>"
    assert set(tokenizer("a b")) == {"input_ids", "attention_mask"}  # what generate() of a Llama takes
    # Neither is added, also where special tokens are asked for, and padding can be told from text.
    assert tokenizer("a b", add_special_tokens=True)["input_ids"] == library.encode("a b")
    batch = tokenizer(["a", "a b c d e"], padding=True)
    assert [row.count(0) for row in batch["attention_mask"]] == [len(library.encode("a b c d e")) - len(library.encode("a")), 0]
    assert batch["attention_mask"][0][0] == 0 and batch["input_ids"][0][0] == tokenizer.pad_token_id == BOS
    config = json.loads((checkpoint / "config.json").read_text())
    assert (config["bos_token_id"], config["eos_token_id"]) == (BOS, EOS)
    # A text without a prompt begins behind the end of another, as in the training: no model has seen BOS.
    config = transformers.GenerationConfig.from_pretrained(checkpoint)
    assert (config.bos_token_id, config.eos_token_id, config.pad_token_id) == (EOS, EOS, BOS)
    # With pieces of its own for it, a model's are named as well.
    checkpoint, _ = save_checkpoint(program, models / "taken-whole.model", "other")
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("<pad>", 3)
    separator = tokenizer.convert_tokens_to_ids("<sep>")
    assert tokenizer.decode([separator]) == "<sep>" and tokenizer.decode([separator], skip_special_tokens=True) == ""
    assert separator not in tokenizer("a<sep>b")["input_ids"]


def test_the_statements_of_the_reference_load_a_model(program, models, monkeypatch):
    (statements,) = blocks(ROOT / "docs/reference.md", "python")
    for name, kind in (("a", "softmax"), ("b", "ssmax")):
        checkpoint, _ = save_checkpoint(program, models / "ours.model", name, model={"attention": {"kind": kind}})
        shutil.copytree(checkpoint, program.directory / f"runs/{name}/checkpoints/step-00000200")
    monkeypatch.chdir(program.directory)
    asked = []
    monkeypatch.setattr("builtins.input", lambda question="": asked.append(question) or "n")  # whether to run the modelling file
    names = {name: getattr(transformers, name) for name in ("AutoModelForCausalLM", "AutoTokenizer", "pipeline")}
    llama, ours, tokenizer, written = [eval(line, names) for line in statements.splitlines()]
    assert not asked
    assert (type(llama).__name__, type(ours).__name__) == ("LlamaForCausalLM", "SsgptForCausalLM")
    assert tokenizer("In the beginning")["input_ids"] == encode(program, models / "ours.model", "In the beginning")
    assert written[0]["generated_text"].startswith("In the beginning")


PIPELINES = {
    "LlamaForCausalLM": {"model": {"attention": {"kind": "softmax"}}},
    "Qwen3ForCausalLM": {"model": {"attention": {"kind": "softmax"}, "qk_norm": "rms"}},
    "SsgptForCausalLM": {"model": {"attention": {"kind": "ssmax"}}},
    "SsgptForCausalLM-documents": {"model": {"attention": {"kind": "ssmax"}}, "data": {"reset_at_document": True}},
}
PROMPTS = ["In the beginning", "", " two  blanks\n\n", "na\u00efve \u4e2d</s>", "x"]


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_writes_what_generate_writes(program, models, name):
    """Greedy tokens of every family of models, an empty prompt, which begins a document, among them; alone and in batches."""
    checkpoint, _ = save_checkpoint(program, models / "ours.model", steps=6, **PIPELINES[name])
    pipeline = transformers.pipeline("text-generation", model=str(checkpoint), trust_remote_code=True)
    assert type(pipeline.model).__name__ == name.split("-")[0]
    options = {"do_sample": False, "max_new_tokens": 40}
    library, expected = library_of(models / "ours.model"), []
    for prompt in PROMPTS:
        ours = generate(program, checkpoint, "--prompt", prompt, "--max-tokens", 40, "--temperature", 0)
        (theirs,) = pipeline(prompt, return_tensors=True, **options)
        assert theirs["generated_token_ids"] == ours["prompt_tokens"] + ours["tokens"], prompt
        assert ours["text"] == library.decode(ours["tokens"])
        assert pipeline(prompt, return_full_text=False, **options)[0]["generated_text"] == shown(ours["tokens"], library)
        expected.append(ours)
    assert expected[1]["prompt_tokens"] == [EOS]
    assert len({token for ours in expected for token in ours["tokens"]}) > 20, "the texts are too dull to tell anything"
    prompts = [prompt for prompt in PROMPTS if prompt]
    batched = pipeline(prompts, return_tensors=True, batch_size=len(prompts), **options)
    padded = 0
    for (row,), ours in zip(batched, [ours for ours in expected if ours["prompt_tokens"] != [EOS]], strict=True):
        whole = ours["prompt_tokens"] + ours["tokens"]
        ids = row["generated_token_ids"]
        begin = next(i for i, token in enumerate(ids) if token != BOS)
        assert ids[begin : begin + len(whole)] == whole and set(ids[begin + len(whole) :]) <= {BOS}
        padded += begin > 0
    assert padded > 0


@pytest.mark.parametrize("name", REFUSED)
def test_a_tokenizer_that_cannot_be_expressed_gets_no_file_and_one_line_that_says_why(program, models, name):
    checkpoint, err = save_checkpoint(program, models / f"{name}.model", steps=3)
    assert len(checkpoints(program.directory / "run")) == 3
    assert err.count("no tokenizer.json") == 1 and REFUSED[name][1] in err
    assert [(checkpoint / file).exists() for file in FILES] == [True, False, False, True]
    assert json.loads((checkpoint / "generation_config.json").read_text())["eos_token_id"] == EOS
    assert json.loads(program.run("inspect", checkpoint, "--json")[0])["has_tokenizer"]


def test_a_run_on_ids_alone_has_what_is_known_of_them(program):
    """Ids have no tokenizer; where a document ends may be known."""
    program.train("--run-dir", "run")
    program.train("--run-dir", "documents", changes=[{"data": {"document_token_id": 7, "reset_at_document": True}}])
    for run, known in (("run", None), ("documents", 7)):
        (checkpoint,) = checkpoints(program.directory / run)
        config = json.loads((checkpoint / "generation_config.json").read_text())
        assert config == {"bos_token_id": known, "eos_token_id": known, "pad_token_id": known}
        assert [(checkpoint / file).exists() for file in FILES[1:]] == [False, False, False]
        model = transformers.AutoModelForCausalLM.from_pretrained(checkpoint, trust_remote_code=True)
        assert (model.generation_config.eos_token_id, model.generation_config.bos_token_id) == (known, known)


def test_every_way_to_a_checkpoint_writes_these_files_under_its_checksums(program, models):
    """Training, resuming, swapping at a step and at a resume, starting from weights, and converting."""
    model = models / "ours.model"
    newest, _ = save_checkpoint(program, model, steps=2)
    first = newest.with_name("step-00000001")
    program.run("train", "--resume", first, "--run-dir", "fork", "--swap-attention", "ssmax")
    program.run("train", "--config", program.directory / "run/config.yaml", "--init-from", first, "--run-dir", "new")
    program.run("convert", "--checkpoint", first, "--attention", "ssmax_bias", "--out", "converted")
    scheduled, _ = save_checkpoint(program, model, "scheduled", 2, train={"swap_attention": [{"at_step": 1, "kind": "ssmax"}]})
    found = [newest, first, scheduled, program.directory / "converted"]
    found += [checkpoints(program.directory / run)[-1] for run in ("fork", "new")]
    for checkpoint in found:
        assert set(FILES) <= set(json.loads((checkpoint / "manifest.json").read_text())["files"])
        assert all((checkpoint / file).read_bytes() == (first / file).read_bytes() for file in FILES)
        program.run("inspect", checkpoint)
    damaged = bytearray((first / "tokenizer.json").read_bytes())
    damaged[100] ^= 1
    (first / "tokenizer.json").write_bytes(damaged)
    _, err = program.run("inspect", first, code=3)
    assert "tokenizer.json" in err
