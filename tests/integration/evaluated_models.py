"""The models of the fixture `trained`, and the commands of `ssgpt evaluate`."""

import json

from conftest import TRAINED_STEPS as STEPS

NAME = f"checkpoints/step-{STEPS:08}"


def model(variant, seed=1):
    return f"sweep/{variant}-seed{seed}/{NAME}"


def position(program, *arguments, **options):
    out, err = program.run("evaluate", "position", "--data", "train.bin", *arguments, **options)
    return (json.loads(out) if "--json" in arguments else out), err


def retrieval(program, *arguments, **options):
    out, err = program.run("evaluate", "retrieval", "--task", "copy", *arguments, **options)
    return (json.loads(out) if "--json" in arguments else out), err


def attention(program, *arguments, **options):
    out, err = program.run("evaluate", "attention", "--data", "train.bin", *arguments, **options)
    return (json.loads(out) if "--json" in arguments else out), err
