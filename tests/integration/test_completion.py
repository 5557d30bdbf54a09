"""ssgpt completion: what real shells offer, beside what --help says. zsh and fish are tested where they are installed."""

import re
import shutil
import subprocess

import pytest

from conftest import Program
from shells import Fish, Typed
from test_documents import help_texts

SCRIPTS = {"bash": "ssgpt.bash", "zsh": "_ssgpt", "fish": "ssgpt.fish"}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scripts")
    for shell, name in SCRIPTS.items():
        (folder / name).write_text(Program(folder).run("completion", shell)[0])
    return folder


@pytest.fixture(scope="module")
def helps(tmp_path_factory):
    """{"train": its --help}, of every command."""
    texts = dict(help_texts(Program(tmp_path_factory.mktemp("helps"))))
    return {name.removeprefix("ssgpt").removesuffix("--help").strip(): text for name, text in texts.items()}


@pytest.fixture(scope="module", params=SCRIPTS)
def shell(request, scripts, tmp_path_factory):
    if not shutil.which(request.param):
        pytest.skip(f"{request.param} is not installed")
    place = tmp_path_factory.mktemp("place")
    for folder in ("configs/paper", "runs/a b"):
        (place / folder).mkdir(parents=True)
    (place / "notes.txt").touch()
    own = tmp_path_factory.mktemp("own")
    made = Fish(scripts, place, own) if request.param == "fish" else Typed(request.param, scripts, place, own)
    yield made
    made.close()


def offers(shell, line):
    """What may be the last word of the line, without what it has up to its last '='; some shells offer that as well."""
    word = line.split(" ")[-1]
    return {one.removeprefix(word[: word.rfind("=") + 1]) for one in shell.complete(line)[0]}


def options_in(text):
    return {name for names in re.findall(r"^  (-[\w,-]+)", text, flags=re.M) for name in names.split(",")}


def test_every_command_and_option_of_the_help_is_offered(shell, helps):
    assert len(helps) > 20
    for command, text in helps.items():
        typed = f"ssgpt {command} " if command else "ssgpt "
        assert offers(shell, f"{typed}-") == options_in(text), command
        children = {name.split()[-1] for name in helps if name.split()[:-1] == command.split() and name != command}
        if children:
            assert offers(shell, typed) == children, command


def test_config_keys_are_offered_with_their_values(shell, helps):
    keys = set(re.findall(r"^  (\w+\.[\w.]+): ", helps["train"], flags=re.M))
    assert len(keys) > 50
    for command in ("train", "bench step"):
        assert offers(shell, f"ssgpt {command} --set ") == {f"{key}=" for key in keys}
    assert offers(shell, "ssgpt train --set optimizer.schedule.w") == {"optimizer.schedule.warmup_steps=",
                                                                       "optimizer.schedule.warmup_epochs="}
    for written in ("--set train.dtype=", "--set=train.dtype="):
        assert offers(shell, f"ssgpt train {written}") == {"auto", "float32", "bfloat16"}
        assert offers(shell, f"ssgpt train {written}b") == {"bfloat16"}
    assert offers(shell, "ssgpt train --set log.tensorboard=") == {"true", "false"}
    assert offers(shell, "ssgpt train --set optimizer.lr=") == set()


KINDS = "softmax softmax_temperature ssmax ssmax_fixed ssmax_bias"


@pytest.mark.parametrize("line, expected", [
    ("ev", "evaluate"),
    ("evaluate lo", "loss"),
    ("nothing ", ""),
    ("completion ", "bash zsh fish"),
    ("completion bash ", "--help -h"),
    ("train --swap-attention s", KINDS),
    ("train --swap-attention=ss", "ssmax ssmax_fixed ssmax_bias"),
    ("convert --attention so", "softmax softmax_temperature"),
    ("bench step --attention ssmax,so", "ssmax,softmax ssmax,softmax_temperature"),
    ("bench step --shape ", "quickstart paper"),
    ("evaluate loss --device ", "auto cpu cuda"),
    ("evaluate retrieval --task ", "copy passkey key_value"),
    ("prepare --synthetic ", "copy passkey key_value"),
    ("prepare --on-bad r", "refuse"),
    ("evaluate needle --prompt-style q", "question"),
    ("train --resume au", "auto"),
    ("train --dry-run --run-d", "--run-dir"),
    ("train --config --run-d", ""),  # it needs a value
    ("train --config=x --run-d", "--run-dir"),
    ("train --set optimizer.lr=1 --run-d", "--run-dir"),
    ("evaluate loss --windows ", ""),
    ("evaluate position --checkpoint a b --max", "--max-length"),
    ("generate --prompt ", ""),
    ("tokenizer encode --tokenizer t ", ""),
    ("tokenizer encode -- -", ""),
    ("generate --temperature -1 --to", "--top-k --top-p"),
])  # fmt: skip
def test_what_may_stand_there_is_offered(shell, line, expected):
    assert offers(shell, f"ssgpt {line}") == set(expected.split())


PATHS = [
    ("train --config no", "train --config notes.txt "),
    ("train --config=no", "train --config=notes.txt "),
    ("train --set data.train=no", "train --set data.train=notes.txt "),
    ("inspect no", "inspect notes.txt "),
    ("train --run-dir ru", "train --run-dir runs/"),
    ("train --resume ru", "train --resume runs/"),
    ("train --run-dir no", "train --run-dir no"),  # no folder
    ("compare runs/x ru", "compare runs/x runs/"),
    ("evaluate position --checkpoint runs/x ru", "evaluate position --checkpoint runs/x runs/"),
    ("evaluate position --data a no", "evaluate position --data a notes.txt "),
    ("evaluate loss --checkpoint runs/", "evaluate loss --checkpoint runs/a\\ b/"),
]


@pytest.mark.parametrize("line, expected", PATHS)
def test_files_and_folders_are_completed(shell, line, expected):
    offered, completed = shell.complete(f"ssgpt {line}")
    if completed is None:  # a shell that says what it would offer, as one whole word
        word = expected.rstrip().split(" ", expected.count(" ") - expected.count("\\ ") - expected.endswith(" "))[-1].replace("\\ ", " ")
        assert offered == ([word] if expected != line else [])
    else:
        assert completed == f"ssgpt {expected}"


def test_names_are_completed_as_far_as_they_are_certain(shell):
    for typed, expected in [("ev", "evaluate "), ("train --co", "train --config "), ("train --set data.tr", "train --set data.train="),
                            ("train --set train.dtype=bf", "train --set train.dtype=bfloat16 ")]:
        completed = shell.complete(f"ssgpt {typed}")[1]
        assert completed in (f"ssgpt {expected}", None)


@pytest.mark.parametrize("shell_name", SCRIPTS)
def test_the_script_is_sound_and_says_what_it_is(scripts, shell_name, program):
    path = scripts / SCRIPTS[shell_name]
    version = program.run("--version")[0].split("\n")[0]
    assert f"Completion of {version} for {shell_name}" in "".join(path.read_text().splitlines()[:2])
    if shutil.which(shell_name):
        subprocess.run([shell_name, "-n", path], check=True, timeout=60)
    if shell_name == "bash" and shutil.which("shellcheck"):
        subprocess.run(["shellcheck", "-s", "bash", path], check=True, timeout=120)
    if shell_name == "zsh" and shutil.which("zsh"):  # as `source <(ssgpt completion zsh)` does
        command = f"autoload -Uz compinit; compinit -D -u; source {path}; print $_comps[ssgpt]"
        assert subprocess.run(["zsh", "-f", "-c", command], check=True, capture_output=True, text=True, timeout=60).stdout == "_ssgpt\n"


def test_each_word_is_described_by_a_whole_phrase(scripts):
    rows = re.findall(r"^  '(.*)'$", (scripts / "ssgpt.bash").read_text(), flags=re.M)
    assert len(rows) > 200
    for row in rows:
        text = row.replace("'\\''", "'").split("|", 4)[4]
        assert len(text) > 2 and text == " ".join(text.split()) and text.count("(") == text.count(")"), row
        assert re.search(r"[\w)\]'\"%.}>*]$", text) and not re.search(r" (a|an|the|of|and|or|to)$", text), row


def option_texts(text):
    """(names, text) of every option in a --help, whose texts begin in column 30, on the next line where the names are long."""
    lines = text.splitlines()
    for line, following in zip(lines, [*lines[1:], ""]):
        if re.match(r"  -", line):
            yield re.match(r"  (\S+)", line)[1].split(","), following[30:] if following.startswith(" " * 30) else line[30:]


def test_the_help_of_an_option_is_a_phrase_of_its_own(helps):
    """A reader sees it beside the names: it begins as a phrase does, and does not repeat a name."""
    found = [(command, *option) for command, text in helps.items() for option in option_texts(text)]
    assert len(found) > 180
    for command, names, text in found:
        assert re.match(r"[A-Z]", text) and not re.match(r"(Of|That|Those|The|What) ", text), (command, names, text)
        for name in names:
            assert not re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text), (command, name, text)
    texts = re.findall(r"^  \w+\.[\w.]+: (.*)", helps["train"], flags=re.M)
    assert len(texts) > 50 and not [text for text in texts if re.match(r"((sft|wsd): )?(of|that|those|what) ", text)]


def test_only_these_shells_are_known(program):
    _, err = program.run("completion", "tcsh", code=2)
    assert "tcsh not in {bash,zsh,fish}" in err
    assert "SHELL is required" in program.run("completion", code=2)[1]
