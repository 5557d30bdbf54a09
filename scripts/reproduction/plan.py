"""A plan: the stages of a reproduction in their order, as configs/reproduce/SIZE/plan.yaml has them.

    name: cpu                      # of the size, and of the folder runs/reproduce-NAME
    machine: 2 CPU cores           # what its minutes were measured on
    claims: ../claims.yaml         # the sentences that are judged, and by which figures
    points: {far: 1024}            # what names in the claims' tests stand for
    stages:
      - name: text                 # also of its folder and its mark
        title: ...                 # for people
        minutes: 40                # measured; for the ETA alone
        sweep: text.yaml           # a sweep, beside the plan ...
        run: '{ssgpt} ...'         # ... or a command, split into words as a shell would, without its expansions
        makes: ['{out}/...']       # files, globs allowed, that must be there behind it
        needs: [corpus]            # stages whose results it reads

In commands {ssgpt}, {python}, {out} (runs/reproduce-NAME) and {plan} (the plan's folder) are filled in, and words with * become the paths
that they match, but for names of shards, which ssgpt itself expands. Commands run in the current folder, the repository's.
"""

import dataclasses
import os
import pathlib
import shlex
import sys

import yaml

SSGPT = os.environ.get("SSGPT_BIN", "build/release/ssgpt")


class BadPlan(Exception):
    pass


@dataclasses.dataclass
class Stage:
    name: str
    title: str
    minutes: float
    command: str  # with placeholders
    makes: list
    needs: list
    reads: list  # files beside the plan that the command reads, for the mark
    is_sweep: bool


@dataclasses.dataclass
class Plan:
    name: str
    folder: pathlib.Path
    out: pathlib.Path
    machine: str
    claims: pathlib.Path
    stages: list
    points: dict  # what names such as "far" stand for in the claims' tests

    def fill(self, text):
        return text.format(ssgpt=SSGPT, python=".venv/bin/python", out=self.out, plan=self.folder)

    def words(self, stage):
        """The command of the stage as it runs here, with paths in the place of globs; a glob that matches nothing is a fault."""
        words = []
        for word in shlex.split(self.fill(stage.command)):
            if word == ".venv/bin/python":
                word = sys.executable
            if "*" in word and not word.endswith(".bin"):
                found = sorted(str(path) for path in pathlib.Path().glob(word))
                if not found:
                    raise BadPlan(f"{stage.name}: nothing matches {word}")
                words += found
            else:
                words.append(word)
        return words


def read_stage(entry, folder, names):
    known = {"name", "title", "minutes", "sweep", "run", "makes", "needs", "reads"}
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise BadPlan(f"{folder}/plan.yaml: each stage is a mapping with a name, not {entry!r}")
    name = entry["name"]
    if unknown := sorted(entry.keys() - known):
        raise BadPlan(f"{folder}/plan.yaml: stage {name}: unknown {', '.join(unknown)}; known are {', '.join(sorted(known))}")
    if ("sweep" in entry) == ("run" in entry):
        raise BadPlan(f"{folder}/plan.yaml: stage {name} has one of sweep and run")
    if name in names:
        raise BadPlan(f"{folder}/plan.yaml: two stages are called {name}")
    if missing := [other for other in entry.get("needs", []) if other not in names]:
        raise BadPlan(f"{folder}/plan.yaml: stage {name} needs {', '.join(missing)}, which do not come before it")
    sweep = entry.get("sweep")
    if sweep:
        command = f"{{ssgpt}} sweep --config {{plan}}/{sweep} --run-dir {{out}}/{name}"
        makes = [f"{{out}}/{name}/report/comparison.json"]
    else:
        command, makes = " ".join(entry["run"].split()), []
    return Stage(name=name, title=entry.get("title", name), minutes=float(entry.get("minutes", 1)), command=command,
                 makes=makes + entry.get("makes", []), needs=entry.get("needs", []),
                 reads=([sweep] if sweep else []) + entry.get("reads", []), is_sweep=bool(sweep))


def load_plan(folder):
    """The plan in the folder. Throws BadPlan."""
    path = folder / "plan.yaml"
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadPlan(f"{path}: no such file; a size is cpu-short, cpu, gpu, or a folder with a plan.yaml") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadPlan(f"{path}: {' '.join(str(error).split())}") from None
    if not isinstance(data, dict) or not {"name", "stages", "claims"} <= data.keys():
        raise BadPlan(f"{path}: a plan is a mapping with name, claims and stages")
    stages = []
    for entry in data["stages"]:
        stages.append(read_stage(entry, folder, [stage.name for stage in stages]))
    return Plan(name=data["name"], folder=folder, out=pathlib.Path("runs") / f"reproduce-{data['name']}", machine=data.get("machine", ""),
                claims=pathlib.Path(os.path.normpath(folder / data["claims"])), stages=stages, points=data.get("points", {}))
