"""What ssgpt evaluate position and retrieval refuse, with the exit code and the words."""

import json

import pytest

from evaluated_models import NAME, STEPS, model, position, retrieval

REFUSED = {
    "empty theta": (["--rope-theta", ""], "empty"),
    "empty in a list": (["--rope-theta", "10000,,5"], "empty"),
    "zero theta": (["--rope-theta", "0"], "--rope-theta 0"),
    "no number": (["--rope-theta", "many"], "'many' is not a number"),
    "theta twice": (["--rope-theta", "5,5"], "twice"),
    "negative scale": (["--row-scale=-1"], "--row-scale -1"),
    "unknown kind": (["--swap-attention", "hard"], "--swap-attention hard: it must be one of softmax"),
    "same kind": (["--swap-attention", "softmax"], "has this attention already"),
    "thetas and yarn": (["--rope-theta", "1,2", "--yarn", "4"], "--yarn"),
    "small yarn": (["--yarn", "0.5"], "--yarn 0.5"),
    "no p_n": (["--extend-pn", "fit"], "--extend-pn"),
    "other fit": (["--extend-pn", "line"], "--extend-pn"),
    "unknown baseline": (["--baseline", "other"], "Softmax"),
    "no bin": (["--bin", "0"], "--bin: '0': it must be a whole number, 1 or more;"),
    "no such variant": (["--row-scale", "2", "--apply-to", "other"], "--apply-to other"),
    "nothing to apply": (["--apply-to", "Softmax"], "--row-scale and --swap-attention"),
    "a shard twice": (["--data", "./train.bin"], "train.bin is named twice"),
    "the same again": (["--checkpoint", model("softmax")], "same settings and seed"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_refuses(_trained, case):
    arguments, message = case
    _, err = position(_trained, "--checkpoint", model("softmax"), "--max-length", 32, *arguments, code=2)
    assert message in err
    assert "Traceback" not in err and len(err.strip().splitlines()) <= 2


def test_refuses_lengths_and_numbers_with_the_range(_trained):
    one = ["--checkpoint", model("softmax")]
    for length in (0, 100_000_000):
        err = position(_trained, *one, "--max-length", length, code=2)[1]
        assert f"'{length}': it must be a whole number, 1 to 16777216;" in err
    assert "'0': it must be a whole number, 1 to 1000000;" in retrieval(_trained, *one, "--trials", 0, code=2)[1]
    seed = "'-1': a seed must be a whole number from 0 to 18446744073709551615;"
    assert seed in retrieval(_trained, *one, "--seed", -1, code=2)[1]
    synthetic = ["prepare", "--synthetic", "copy", "--vocab-size", 16, "--length", 16, "--windows", 4, "--out", "none"]
    assert seed in _trained.run(*synthetic, "--seed", -1, code=2)[1]


def test_refuses_before_a_model_is_measured(trained):
    """If the last of several models, or the data, cannot be evaluated, this is found before any model is measured in vain."""
    both = ["--checkpoint", model("softmax"), f"learned/{NAME}"]
    for run, options in ((position, ["--max-length", 17]), (retrieval, ["--lengths", "16,18"])):
        err = run(trained, *both, *options, code=2)[1]
        assert f"learned/{NAME} has a learned p_n of 16 entries" in err and "model 1 of" not in err
    err = position(trained, *both, "--max-length", 5000, "--extend-pn", "fit", code=3)[1]
    assert "1025 tokens in all" in err and "model 1 of" not in err
    resetting = {"data": {"document_token_id": 1, "reset_at_document": True}, "train": {"max_steps": STEPS}}
    trained.train("--run-dir", "resetting", changes=[resetting])
    err = retrieval(trained, "--checkpoint", model("softmax"), "resetting", code=2)[1]
    assert f"resetting/{NAME}: its attention ends with a document" in err and "model 1 of" not in err


def test_refuses_what_does_not_go_together(trained):
    both = ["--checkpoint", model("softmax")]
    for lengths, message in (("64,32", "ascending"), ("16,16", "ascending"), ("0", "above 0"), ("", "empty"), ("4", "copy")):
        assert message in retrieval(trained, *both, "--lengths", lengths, code=2)[1]
    err = trained.run("evaluate", "retrieval", "--task", "sing", *both, code=2)[1]
    assert "copy" in err and "passkey" in err and "key_value" in err
    assert "1025" in position(trained, *both, "--max-length", 5000, code=3)[1]  # the number of tokens that there are
    assert "end" in position(trained, *both, "--documents", code=2)[1]
    assert "absent" in position(trained, "--checkpoint", "absent", code=3)[1]
    (trained.directory / "begun/checkpoints").mkdir(parents=True)
    (trained.directory / "begun/run.json").write_text('{"run_id": "0123456789abcdef"}')
    assert "no complete checkpoint" in position(trained, "--checkpoint", "begun", code=3)[1]
    wide = {"model": {"vocab_size": 128}, "train": {"max_steps": STEPS}}
    trained.train("--run-dir", "wide", changes=[wide])
    assert "vocabulary" in position(trained, *both, "wide", code=2)[1]
    record = json.loads((trained.directory / "sweep/sweep.json").read_text())
    for i, one in enumerate(record["runs"]):
        one["point"] = f"lr{i % 2}"
    (trained.directory / "sweep/sweep.json").write_text(json.dumps(record))
    assert "grid" in position(trained, "--checkpoint", "sweep", code=2)[1]
