"""How a fine-tuning that counts in epochs resumes: with its examples, with others, without them, and with more epochs."""

import json

import pytest
from safetensors.torch import load_file

from conftest import checkpoints, equal_tensors, without_timing
from manifests import sign
from tunings import LAST, Tuning


class EpochTuning(Tuning):
    def epochs(self, count, *changes, name="epochs.json"):
        """A config with `count` epochs, one of them for warm-up."""
        path = self.program.config(*self.config(*changes), name=name)
        data = json.loads(path.read_text())
        del data["train"]["max_steps"]
        data["train"]["epochs"] = count
        data["optimizer"]["schedule"] = {"kind": "constant", "warmup_epochs": 1}
        path.write_text(json.dumps(data))
        return path

@pytest.fixture
def tuning(program):
    return EpochTuning(program)


def test_other_examples_are_named_as_what_differs(tuning):
    """The error does not name the number of steps per epoch that they lead to."""
    config = tuning.epochs(2)
    tuning.program.run("train", "--config", config, "--run-dir", "run")
    more = tuning.epochs(3, name="more.json")
    tuning.write(tuning.train_examples[:20])
    for arguments in (["--config", more, "--resume", "auto", "--run-dir", "run"], ["--resume", "run", "--set", "train.epochs=3"]):
        _, err = tuning.program.run("train", *arguments, code=3)
        assert "The training examples are not those" in err and "warmup" not in err and "max_steps" not in err
    # A setting that differs is reported as such.
    _, err = tuning.program.run("train", "--resume", "run", "--set", "train.epochs=3", "--set", "train.global_batch_size=12", code=2)
    assert "train.global_batch_size: 6 in the checkpoint, 12 now" in err and "warmup" not in err


def test_a_resume_goes_on_to_more_epochs(tuning):
    """As if they had been configured from the beginning: the learning rate is constant after the warm-up."""
    two = tuning.epochs(2)
    three = tuning.epochs(3, name="three.json")
    tuning.program.run("train", "--config", three, "--run-dir", "whole")
    whole, saved = tuning.metrics("whole"), checkpoints(tuning.directory / "whole")
    per_epoch = len(whole) // 3
    assert len(whole) == 3 * per_epoch and per_epoch > 1
    for run, arguments in {"by-set": ["--resume", "by-set", "--set", "train.epochs=3"],
                           "by-file": ["--config", three, "--run-dir", "by-file", "--resume", "auto"]}.items():
        tuning.program.run("train", "--config", two, "--run-dir", run)
        assert len(tuning.metrics(run)) == 2 * per_epoch
        tuning.program.run("train", *arguments)
        assert without_timing(tuning.metrics(run)) == without_timing(whole)
        last = LAST.format(3 * per_epoch)
        assert equal_tensors(load_file(tuning.directory / run / last / "model.safetensors"), load_file(saved[-1] / "model.safetensors"))
    # Steps also replace the epochs of the file.
    tuning.program.run("train", "--config", three, "--run-dir", "by-file", "--resume", "auto", "--set", f"train.max_steps={3 * per_epoch + 2}")
    assert len(tuning.metrics("by-file")) == 3 * per_epoch + 2


def test_a_complete_run_needs_its_examples_no_more(tuning):
    config = tuning.epochs(2)
    tuning.program.run("train", "--config", config, "--run-dir", "run")
    (tuning.directory / "train.jsonl").unlink()
    _, err = tuning.program.run("train", "--config", config, "--run-dir", "run", "--resume", "auto")
    assert "is complete" in err
    # A run with steps left does.
    _, err = tuning.program.run("train", "--resume", "run", "--set", "train.epochs=3", code=3)
    assert "train.jsonl" in err


def test_a_checkpoint_that_does_not_know_its_epochs_counts_them_anew(tuning):
    """As checkpoints of earlier versions do, and those of pretraining."""
    config = tuning.epochs(2)
    tuning.program.run("train", "--config", config, "--run-dir", "run")
    steps = len(tuning.metrics("run"))
    folder = checkpoints(tuning.directory / "run")[-1]
    state = json.loads((folder / "trainer/state.json").read_text())
    assert state.pop("steps_per_epoch") == steps // 2
    (folder / "trainer/state.json").write_text(json.dumps(state))
    sign(folder)
    tuning.program.run("train", "--resume", folder, "--run-dir", "fork", "--set", "train.epochs=3")
    assert tuning.metrics("fork")[-1]["step"] == 3 * steps // 2
