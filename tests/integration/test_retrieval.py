"""evaluate retrieval compared with the float64 reference model on trials that the program did not make."""

import json

import pytest
import torch
from conftest import make_program
from reference_model import ReferenceModel
from safetensors.torch import load_file
from synthetic_tasks import copy_trial, key_value_trial, passkey_trial

VOCAB, LENGTH, HEADS, LAYERS, TRIALS = 12, 32, 2, 2, 30


@pytest.fixture(scope="module", params=["softmax", "ssmax"])
def copying(tmp_path_factory, request):
    """The program, the kind, and a checkpoint trained a little on copying: right more often than one in 12."""
    program = make_program(tmp_path_factory.mktemp("copying"))
    arguments = ["--vocab-size", VOCAB, "--length", LENGTH, "--windows", 400]
    program.run("prepare", "--synthetic", "copy", *arguments, "--out", "data")
    model = {"vocab_size": VOCAB, "num_hidden_layers": LAYERS, "num_attention_heads": HEADS}
    data = {"sequence_length": LENGTH, "train": ["data/train_*.bin"]}
    change = {"model": {**model, "attention": {"kind": request.param}}, "data": data, "train": {"max_steps": 60}}
    program.train("--run-dir", "run", changes=[change])
    return program, request.param, program.directory / "run/checkpoints/step-00000060"


def expected(checkpoint, kind, trials, theta):
    """For each trial, the share of answers that have strictly the largest logit, and their mean cross-entropy."""
    weights = {name: tensor.double() for name, tensor in load_file(checkpoint / "model.safetensors").items()}
    reference = ReferenceModel(weights, heads=HEADS, layers=LAYERS, kind=kind, theta=theta)
    accuracy, loss = [], []
    for tokens, answers in trials:
        with torch.no_grad():
            logits = reference(torch.tensor([tokens[:-1]]))[0]
        before, targets = torch.tensor(answers) - 1, torch.tensor(tokens)[answers]
        others = logits[before].scatter(1, targets[:, None], float("-inf"))
        right = logits[before, targets] > others.max(dim=1).values
        accuracy.append(right.double().mean().item())
        loss.append(torch.nn.functional.cross_entropy(logits[before], targets).item())
    return accuracy, loss


@pytest.mark.parametrize("task, make, least", [
    ("copy", copy_trial, 10), ("passkey", passkey_trial, 10), ("key_value", key_value_trial, 12)])
@pytest.mark.parametrize("theta", [10000.0, 500000.0])
def test_accuracy_and_loss_are_those_of_the_reference(copying, task, make, least, theta):
    program, kind, checkpoint = copying
    request = ["--task", task, "--lengths", f"{least},32,51,96", "--trials", TRIALS, "--seed", 3, "--rope-theta", theta]
    out, _ = program.run("evaluate", "retrieval", "--checkpoint", checkpoint, *request, "--json")
    results = json.loads(out)["results"]
    assert [result["length"] for result in results] == [least, 32, 51, 96]
    for result in results:
        trials = [make(3, index, result["length"], VOCAB) for index in range(TRIALS)]
        accuracy, loss = expected(checkpoint, kind, trials, theta)
        assert result["tokens"] == sum(len(answers) for _, answers in trials)
        assert result["accuracy"] == pytest.approx(sum(accuracy) / TRIALS, abs=1e-12)
        # float32 in ours: sums of a few hundred products with relative errors of 2^-24 each, averaged over the answers.
        assert result["loss"] == pytest.approx(sum(loss) / TRIALS, rel=1e-5)
    if task == "copy":
        assert results[1]["accuracy"] > 1.5 / VOCAB
