"""Several ranks train the model that one process trains. Failures are in test_distributed_failures.py.

A different number of ranks groups the sums over tokens differently. A sum of a few hundred fp32 terms then differs in its last
bits, by about 1e-7 of it, and AdamW carries that into the weights. At this learning rate the training is stable and does not
amplify it, so losses agree to 1e-5 with room to spare, while a wrong sample, weight or scale anywhere shows as 1e-3 and more. (At
three times the rate this model oscillates after 30 steps, and two micro-batch sizes in one process differ by 1e-5.) The gradient
is a difference of large terms and relatively less exact than the loss: its norm agrees to 1e-4."""

import json
import shutil
import signal

import numpy as np
import pytest
import safetensors
from safetensors.numpy import load_file

from conftest import make_program, read_metrics, without_timing
from launchers import overwrite_memory, run_ranks, start_ranks

STEPS = 50
LAST = f"checkpoints/step-{STEPS:08d}"
# 12 sequences per step divide among 1, 2, 3, 4 and 6 ranks; the last validation of 16 windows is uneven on 3.
LEARNING = {
    # With seed 7, the residual of one window nearly vanishes under a norm: the gradient of its loss has 200 times the norm of
    # the others', and the rounding of the weights shows in the fourth digit of a step's gradient norm.
    "run": {"seed": 8},
    "train": {"max_steps": STEPS, "global_batch_size": 12, "micro_batch_size": 3},
    "data": {"validation": ["validation.bin"]},
    "evaluate": {"every": 10, "batches": 16},
    "optimizer": {"lr": 0.001},
    "parallel": {"check_every": 1},
}
ZERO = {"parallel": {"zero_stage": 1}}
MANY_BUCKETS = {"parallel": {"bucket_mb": 0.0075}}  # 1,966 values: parameters span buckets, and buckets hold several parameters
ENDLESS = {"train": {"max_steps": 1000000}, "checkpoint": {"every": 0}}


def micro(size):
    return {"train": {"micro_batch_size": size}}


def kind(name):
    return {"model": {"attention": {"kind": name}}}


class Runs:
    """Runs in one directory by name, each made once."""

    def __init__(self, program):
        self.program = program
        self.made = set()

    def one(self, name, *changes):
        """Trains in one process that no launcher started."""
        return self._once(name, lambda: self.program.train("--run-dir", name, changes=changes))

    def ranks(self, name, how, count, *changes):
        return self._once(name, lambda: train(self.program, how, count, name, changes))

    def _once(self, name, make):
        if name not in self.made:
            make()
            self.made.add(name)
        return self.program.directory / name


def train(program, how, count, run, changes, *arguments, **options):
    """Trains into the directory `run`, which must succeed. Returns stdout and stderr of each process."""
    config = program.config(*changes, name=f"{run}.json")
    return run_ranks(program, how, count, ["train", "--config", config, "--run-dir", run, *arguments], **options)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    return Runs(make_program(tmp_path_factory.mktemp("runs")))


def assert_same_curve(run, reference, losses=1e-5, norms=1e-4):
    """Checks with relative tolerances; every line of both has the same step, tokens and rate."""
    ours, theirs = read_metrics(run), read_metrics(reference)
    assert [(r["step"], r["tokens"], r["train/lr"]) for r in ours] == [(r["step"], r["tokens"], r["train/lr"]) for r in theirs]
    for key, tolerance in (("train/loss", losses), ("validation/loss", losses), ("train/grad_norm", norms)):
        assert [key in r for r in ours] == [key in r for r in theirs]
        values = [np.array([r[key] for r in records if key in r]) for records in (ours, theirs)]
        worst = np.max(np.abs(values[0] / values[1] - 1), initial=0.0)
        print(f"{run.name}: {key} differs by {worst:.1e}")
        assert worst < tolerance, (key, worst)


def optimizer_files(checkpoint):
    return sorted((checkpoint / "trainer").glob("optimizer-*.safetensors"))


def whole_moments(checkpoint):
    """The moments of all optimizer files of a checkpoint put together: {tensor: flat array}; each element is in one file."""
    pieces = {}
    for path in optimizer_files(checkpoint):
        with safetensors.safe_open(path, "np") as file:
            ranges = json.loads(file.metadata()["ranges"])
            for name in file.keys():
                bounds = ranges[name.rpartition(".exp_avg")[0]]
                held, first = file.get_tensor(name).reshape(-1), 0
                for begin, end in zip(bounds[::2], bounds[1::2]):
                    pieces.setdefault(name, []).append((begin, held[first : first + end - begin]))
                    first += end - begin
                assert first == held.size
    whole = {}
    for name, parts in pieces.items():
        parts.sort(key=lambda part: part[0])
        ends = np.cumsum([values.size for _, values in parts])
        assert [begin for begin, _ in parts] == [0, *ends[:-1]], f"{name}: a hole or an overlap"
        whole[name] = np.concatenate([values for _, values in parts])
    return whole


@pytest.mark.parametrize("how, count, accumulation, size", [
    ("by_hand", 1, 1, 12),
    ("torchrun", 2, 2, 3),
    ("slurm", 2, 6, 1),
    ("by_hand", 2, 1, 6),
    ("by_hand", 3, 2, 2),
    ("mpirun", 4, 1, 3),
    ("slurm", 4, 3, 1),
])
def test_one_global_batch_gives_one_curve_however_it_is_cut(runs, how, count, accumulation, size):
    assert count * accumulation * size == 12
    reference = runs.one("reference", LEARNING, kind("ssmax"))
    run = runs.ranks(f"{how}{count}x{size}", how, count, LEARNING, kind("ssmax"), micro(size))
    losses = [r["train/loss"] for r in read_metrics(run)]
    assert len(losses) == STEPS and losses[-1] < losses[0] - 0.5  # it learns, or equality would mean little
    assert_same_curve(run, reference)
    ours, theirs = (load_file(path / LAST / "model.safetensors") for path in (run, reference))
    assert ours.keys() == theirs.keys()


@pytest.mark.parametrize("count, size", [(2, 3), (3, 2), (4, 3)])
def test_zero_1_equals_plain_and_shares_the_optimizer_out(runs, count, size):
    """Both add the same numbers; only the order of the ranks within a sum may differ, 1e-7 of it."""
    changes = [LEARNING, MANY_BUCKETS, kind("learned_pn"), micro(size), {"optimizer": {"scale_lr_multiplier": 3}}]
    plain = runs.ranks(f"plain{count}", "by_hand", count, *changes)
    zero = runs.ranks(f"zero{count}", "slurm", count, *changes, ZERO)
    assert_same_curve(zero, plain, losses=1e-6)

    (whole,) = optimizer_files(plain / LAST)
    files = optimizer_files(zero / LAST)
    assert [f.name for f in files] == [f"optimizer-{rank:05d}-of-{count:05d}.safetensors" for rank in range(count)]
    held = [sum(tensor.size for tensor in load_file(file).values()) for file in files]
    total = sum(tensor.size for tensor in load_file(whole).values())
    assert sum(held) == total
    for file, elements in zip(files, held):  # the shares are equal except for padding, which is in no file
        assert elements == pytest.approx(total / count, rel=0.05)
        assert file.stat().st_size < 1.3 * whole.stat().st_size / count  # the header has all names, and the ranges

    ours, theirs = whole_moments(zero / LAST), whole_moments(plain / LAST)
    assert ours.keys() == theirs.keys()
    for name, moments in theirs.items():
        # Means of gradients: as inexact as the worst of these, a sum that almost cancels. A misplaced piece is off by 1.
        worst = np.max(np.abs(ours[name] - moments)) / np.max(np.abs(moments))
        assert worst < 1e-3, (name, worst)


def test_options_of_the_model_on_two_ranks_are_those_of_one_process(program):
    """The optimizer state is sharded: the norms' gains are tensors of 16 among those of a thousand."""
    options = {"qk_norm": "rms", "rope_fraction": 0.5, "nope_layers": [1]}
    changes = [LEARNING, kind("ssmax"), {"model": options, "train": {"max_steps": 20}}]
    program.train("--run-dir", "one", changes=changes)
    train(program, "by_hand", 2, "two", [*changes, MANY_BUCKETS, ZERO])
    assert_same_curve(program.directory / "two", program.directory / "one")
    last = program.directory / "two/checkpoints/step-00000020"
    assert len(optimizer_files(last)) == 2
    assert whole_moments(last)["model.layers.1.self_attn.k_norm.weight.exp_avg"].shape == (16,)


@pytest.mark.parametrize("how, count, changes", [
    ("by_hand", 2, [kind("softmax")]),
    ("slurm", 2, [kind("ssmax"), {"train": {"dtype": "bfloat16"}}]),
    ("by_hand", 3, [kind("learned_pn"), {"train": {"dtype": "bfloat16"}}, micro(2), ZERO]),
])
def test_weights_stay_the_same_bits_on_all_ranks(program, how, count, changes):
    """parallel.check_every: 1 ends the run if they differ; so it does in all runs above."""
    train(program, how, count, "run", [LEARNING, *changes])
    assert len(read_metrics(program.directory / "run")) == STEPS


def test_a_rank_whose_weights_changed_is_named(program):
    """As after a memory fault. At this learning rate no weight moves, so that it can be found by its value."""
    still = {"optimizer": {"lr": 1e-30}, "parallel": {"check_every": 1}, "checkpoint": {"every": 5, "keep_every": 5}}
    config = program.config(ENDLESS, still)
    with start_ranks(program, "by_hand", 2, ["train", "--config", config, "--run-dir", "run"]) as ranks:
        saved = program.directory / "run/checkpoints/step-00000005"
        ranks.wait_until((saved / "manifest.json").exists)
        weights = load_file(saved / "model.safetensors")["model.layers.1.mlp.up_proj.weight"].tobytes()
        assert overwrite_memory(ranks.pid(1), weights[:64], weights[:63] + bytes([weights[63] ^ 1])) >= 1
        codes, errors = ranks.wait(60)
    assert codes == [1, 1]
    assert "the weights of rank 1 are not those of rank 0" in errors[0]
    assert "the weights of rank 1 are not those of rank 0" in (program.directory / "run/log.txt").read_text()


def continue_until(program, how, count, run, steps, *changes):
    train(program, how, count, run, [LEARNING, *changes, {"train": {"max_steps": steps}}], "--resume", "auto")


def test_the_number_of_ranks_and_zero_may_change_at_every_resume(program):
    """Compared with one process that was never stopped."""
    half = {"train": {"max_steps": 20}}
    program.train("--run-dir", "whole", changes=[LEARNING])
    train(program, "by_hand", 2, "shared", [LEARNING, ZERO, half])
    shutil.copytree(program.directory / "shared", program.directory / "alone")
    continue_until(program, "by_hand", 1, "alone", STEPS)
    continue_until(program, "slurm", 4, "shared", 30)
    continue_until(program, "by_hand", 2, "shared", STEPS, ZERO, micro(2))
    train(program, "by_hand", 2, "plain", [LEARNING, half])
    continue_until(program, "slurm", 4, "plain", STEPS, ZERO)
    for run in ("alone", "shared", "plain"):
        assert_same_curve(program.directory / run, program.directory / "whole")
    files = {run: len(optimizer_files(program.directory / run / LAST)) for run in ("alone", "shared", "plain")}
    assert files == {"alone": 1, "shared": 2, "plain": 4}


@pytest.mark.parametrize("changes", [[kind("ssmax")], [ZERO, kind("learned_pn"), {"train": {"dtype": "bfloat16"}}]])
def test_killed_and_resumed_ranks_equal_uninterrupted_ones(program, changes):
    """Bit for bit, except timing: two ranks add in one order. The kill falls between the lines and between the checkpoints."""
    # 192 tokens per step: dividing by a power of two would not round, and would hide a different order of addition.
    changes = [*changes, {"train": {"max_steps": 150, "global_batch_size": 12, "micro_batch_size": 3},
                          "checkpoint": {"every": 20}, "log": {"every": 3}, "data": {"validation": ["validation.bin"]}, "evaluate": {"every": 50, "batches": 2}}]
    train(program, "by_hand", 2, "whole", changes)
    arguments = ["train", "--config", program.config(*changes), "--run-dir", "killed"]
    killed = program.directory / "killed"
    with start_ranks(program, "by_hand", 2, arguments) as ranks:
        ranks.wait_until((killed / "checkpoints/step-00000040/manifest.json").exists)
        ranks.kill()
    assert len(read_metrics(killed)) < 50
    _, errors = run_ranks(program, "by_hand", 2, [*arguments, "--resume", "auto"])
    resumed_at = int(errors[0].split("resumes from step ")[1].split(",")[0])
    assert resumed_at >= 20 and resumed_at % 20 == 0
    assert without_timing(read_metrics(killed)) == without_timing(read_metrics(program.directory / "whole"))
    last = "checkpoints/step-00000150"
    names = ["model.safetensors", *(f"trainer/{path.name}" for path in optimizer_files(killed / last))]
    assert len(names) == (3 if ZERO in changes else 2)
    for name in names:
        assert (killed / last / name).read_bytes() == (program.directory / "whole" / last / name).read_bytes()


def test_the_attention_is_swapped_on_all_ranks_as_in_one_process(program):
    """At a step, and by hand at a resume. The optimizer state is sharded, and sharded again: the kinds have other parameters."""
    scheduled = {"train": {"swap_attention": {"at_step": 20, "kind": "learned_pn"}}}
    program.train("--run-dir", "one", changes=[LEARNING, scheduled])
    train(program, "by_hand", 2, "scheduled", [LEARNING, ZERO, scheduled])
    train(program, "slurm", 2, "manual", [LEARNING, ZERO, {"train": {"max_steps": 20}}])
    train(program, "slurm", 2, "manual", [LEARNING, ZERO], "--resume", "auto", "--swap-attention", "learned_pn")
    for run in ("scheduled", "manual"):
        assert_same_curve(program.directory / run, program.directory / "one")
    moments = [whole_moments(program.directory / run / LAST) for run in ("scheduled", "manual")]
    assert moments[0].keys() == moments[1].keys() and "model.ssmax_position.exp_avg" in moments[0]
    assert all(np.array_equal(moments[0][name], moments[1][name]) for name in moments[0])


@pytest.mark.parametrize("how", ["torchrun", "by_hand"])
def test_a_mistake_in_the_config_is_told_once(program, how):
    """By rank 0, though each rank finds it. torchrun shows the reason in a table of its own, and if another rank exits first, it
    may end rank 0 before that speaks."""
    divides = program.config({"train": {"global_batch_size": 12, "micro_batch_size": 4}}, name="divides.json")
    typo = program.config({"train": {"max_step": 12}}, name="typo.json")
    for config, message, details in (
        (divides, "train.global_batch_size 12 does not divide among 2 ranks",
         ["global_batch_size 8 or 16;", "micro_batch_size 1, 2, 3;", "1, 3 ranks."]),
        (typo, "max_step", ["typo.json"]),
    ):
        outputs, errors = run_ranks(program, how, 2, ["train", "--config", config, "--run-dir", "run"],
                                    code=1 if how == "torchrun" else 2)
        told = [line for error in errors for line in error.splitlines() if " error: " in line and message in line]
        assert len(told) == 1 or (how == "torchrun" and not told), errors
        assert all(detail in "\n".join(errors) for detail in details), told
        assert how == "by_hand" or "exitcode  : 2" in errors[0]
        assert not (program.directory / "run").exists()


def lines_of(run, count):
    """A condition: at least so many lines of metrics exist."""
    path = run / "metrics.jsonl"
    return lambda: path.exists() and path.read_bytes().count(b"\n") >= count


def only_checkpoint(run):
    (path,) = (run / "checkpoints").iterdir()
    return path, int(path.name.split("-")[1])


def test_a_signal_to_one_rank_stops_all_after_the_same_step(program):
    """The moments are sharded, so the checkpoint needs both ranks; it equals that of an uninterrupted run at this step."""
    changes = [ENDLESS, ZERO, {"log": {"every": 3}}]
    run = program.directory / "run"
    with start_ranks(program, "by_hand", 2, ["train", "--config", program.config(*changes), "--run-dir", "run"]) as ranks:
        ranks.wait_until(lines_of(run, 5))
        ranks.signal(signal.SIGTERM, rank=1)
        codes, errors = ranks.wait(60)
    assert codes == [128 + signal.SIGTERM] * 2
    saved, step = only_checkpoint(run)
    assert f"Stopped by signal 15 after step {step}; saved" in errors[0] and errors[1] == ""
    assert 0 <= step - read_metrics(run)[-1]["step"] < 3
    program.run("inspect", saved)
    train(program, "by_hand", 2, "whole", [*changes, {"train": {"max_steps": step}}])
    for name in ("model.safetensors", *(f"trainer/optimizer-0000{rank}-of-00002.safetensors" for rank in (0, 1))):
        assert (saved / name).read_bytes() == (program.directory / "whole/checkpoints" / saved.name / name).read_bytes()


@pytest.mark.parametrize("how, sent, code", [
    ("torchrun", signal.SIGTERM, 1),  # the launcher's own, with a traceback
    ("mpirun", signal.SIGUSR1, 128 + signal.SIGUSR1),
])
def test_a_signal_to_the_launcher_saves_and_the_curve_goes_on(program, how, sent, code):
    run = program.directory / "run"
    log = {"log": {"every": 3}}
    with start_ranks(program, how, 2, ["train", "--config", program.config(ENDLESS, log), "--run-dir", "run"]) as ranks:
        ranks.wait_until(lines_of(run, 5))
        ranks.signal(sent)
        codes, errors = ranks.wait(60)
        assert codes == [code] and ranks.alive() == []
    _, step = only_checkpoint(run)
    assert f"Stopped by signal {sent.value} after step {step}; saved" in errors[0]
    assert "killed" not in (run / "log.txt").read_text()
    longer = {"train": {"max_steps": step + 20}}
    train(program, how, 2, "run", [ENDLESS, log, longer], "--resume", "auto")
    train(program, "by_hand", 2, "whole", [ENDLESS, log, longer])
    assert without_timing(read_metrics(run)) == without_timing(read_metrics(program.directory / "whole"))


def test_rank_0_alone_logs(program):
    outputs, errors = train(program, "by_hand", 2, "run", [])
    run = program.directory / "run"
    assert outputs == ["", ""] and errors[1] == ""
    record = json.loads((run / "run.json").read_text())
    assert [session["ranks"] for session in record["sessions"]] == [2]
    log = (run / "log.txt").read_text()
    assert [line.split(" ", 1)[1] for line in log.splitlines() if "T" in line[:20] and line[0] == "2"] == [
        line.split(" ", 1)[1] for line in errors[0].splitlines() if line[2:3] == ":"]
    assert log.count("Done: 20 steps") == 1 and "on 2 ranks" in log


def test_a_dry_run_is_printed_once_and_shares_the_optimizer_out(program):
    wide = {"model": {"hidden_size": 1024, "intermediate_size": 2048}}
    config = program.config(wide, {"train": {"global_batch_size": 8}})
    memory = []
    for stage, how in enumerate(("by_hand", "torchrun")):
        outputs, _ = run_ranks(program, how, 2, ["train", "--config", config, "--run-dir", "run", "--dry-run",
                                                 "--set", f"parallel.zero_stage={stage}"])
        out = "".join(outputs)
        assert out.count("  memory ") == 1 and out.count("parameters: 2 layers") == 1 and "on 2 ranks" in out
        memory.append(int(out.split("parameters and optimizer ")[1].split(",")[0]))
    # fp32 weights, gradient and two moments: 16 bytes per parameter; half of the moments' 8 are on the other rank.
    assert memory[1] == pytest.approx(memory[0] * 12 / 16, abs=2)
    assert memory[0] > 200 and not (program.directory / "run").exists()


def test_bench_step_reports_what_ranks_wait_for(program):
    config = program.config()
    (out,), _ = run_ranks(program, "torchrun", 2, ["bench", "step", "--config", config, "--steps", 3, "--json"])
    report = json.loads(out)
    communication = report["communication"]
    assert 0 < communication["exposed_seconds_per_step"] <= communication["total_seconds_per_step"]
    assert communication["buckets"] >= 8 and len(report["seconds"]) == 3
    assert communication["total_seconds_per_step"] < sum(report["seconds"]) / 3


def test_weights_of_another_run_and_forks(program):
    program.train("--run-dir", "first", changes=[{"train": {"max_steps": 10}, "checkpoint": {"every": 5}}])
    source = program.directory / "first/checkpoints/step-00000005"
    program.train("--run-dir", "one-init", "--init-from", source, changes=[LEARNING])
    train(program, "by_hand", 2, "init", [LEARNING, ZERO], "--init-from", source)
    assert_same_curve(program.directory / "init", program.directory / "one-init")

    program.train("--run-dir", "one-fork", "--resume", source)
    train(program, "slurm", 2, "fork", [ZERO], "--resume", source)
    assert_same_curve(program.directory / "fork", program.directory / "one-fork")
    assert json.loads((program.directory / "fork/run.json").read_text())["parent"].endswith(source.name)
    assert [r["step"] for r in read_metrics(program.directory / "first")] == list(range(1, 11))


def test_bfloat16_and_documents(program):
    """bfloat16 has 8 bits: from the same weights, a token's loss is off by up to 1e-2, the mean over a batch by less."""
    documents = {"reset_at_document": True, "document_token_id": 3}
    changes = [LEARNING, kind("ssmax"), {"train": {"dtype": "bfloat16"}, "data": documents}]
    program.train("--run-dir", "one", changes=changes)
    train(program, "by_hand", 2, "two", changes)
    assert_same_curve(program.directory / "two", program.directory / "one", losses=2e-3, norms=5e-2)
    fp32 = {"train": {"dtype": "float32"}}
    program.train("--run-dir", "one32", changes=[*changes, fp32])
    train(program, "slurm", 2, "two32", [*changes, fp32])
    assert_same_curve(program.directory / "two32", program.directory / "one32")


def test_samples_come_from_rank_0_and_change_no_bit(program):
    text = "In the beginning was the word — « naïve café » and the word was with the others.\n" * 40
    (program.directory / "text.txt").write_text(text)
    program.run("tokenizer", "train", "--input", "text.txt", "--output", "t.model", "--vocab-size", 300)
    changes = [LEARNING, ZERO, {"model": {"vocab_size": 300}, "data": {"tokenizer": "t.model"}, "train": {"max_steps": 20}}]
    prompts = ["In the beginning", ""]
    samples = {"evaluate": {"samples": {"prompts": prompts, "max_tokens": 4}}}
    train(program, "by_hand", 2, "without", changes)
    _, errors = train(program, "by_hand", 2, "with", [*changes, samples])
    run = program.directory / "with"
    records = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    assert [(r["step"], r["prompt"]) for r in records] == [(step, prompt) for step in (10, 20) for prompt in prompts]
    assert any(r["text"] for r in records) and "Step 10: \"In the beginning\" ->" in errors[0] and errors[1] == ""
    assert without_timing(read_metrics(run)) == without_timing(read_metrics(program.directory / "without"))
