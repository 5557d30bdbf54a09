"""What ssgpt evaluate position and retrieval refuse, with which exit code and words."""

import json

import pytest

from evaluated_models import STEPS, model, position, retrieval

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
    "no bin": (["--bin", "0"], "--bin"),
    "the same again": (["--checkpoint", model("softmax")], "same settings and seed"),
}


@pytest.mark.parametrize("case", REFUSED.values(), ids=REFUSED.keys())
def test_refuses(_trained, case):
    arguments, message = case
    _, err = position(_trained, "--checkpoint", model("softmax"), "--max-length", 32, *arguments, code=2)
    assert message in err
    assert "Traceback" not in err and len(err.strip().splitlines()) <= 2


def test_refuses_what_does_not_go_together(trained):
    both = ["--checkpoint", model("softmax")]
    for lengths, message in (("64,32", "rising"), ("16,16", "rising"), ("0", "above 0"), ("", "empty"), ("4", "copy")):
        assert message in retrieval(trained, *both, "--lengths", lengths, code=2)[1]
    err = trained.run("evaluate", "retrieval", "--task", "sing", *both, code=2)[1]
    assert "copy" in err and "passkey" in err
    assert "1025" in position(trained, *both, "--max-length", 5000, code=3)[1]  # tokens that there are
    assert "end" in position(trained, *both, "--documents", code=2)[1]
    assert "absent" in position(trained, "--checkpoint", "absent", code=3)[1]
    (trained.directory / "begun/checkpoints").mkdir(parents=True)
    assert "no complete checkpoint" in position(trained, "--checkpoint", "begun", code=3)[1]
    wide = {"model": {"vocab_size": 128}, "train": {"max_steps": STEPS}}
    trained.train("--run-dir", "wide", changes=[wide])
    assert "vocabulary" in position(trained, *both, "wide", code=2)[1]
    record = json.loads((trained.directory / "sweep/sweep.json").read_text())
    for i, one in enumerate(record["runs"]):
        one["point"] = f"lr{i % 2}"
    (trained.directory / "sweep/sweep.json").write_text(json.dumps(record))
    assert "grid" in position(trained, "--checkpoint", "sweep", code=2)[1]
