"""A plan: the stages of a reproduction in their order, as configs/reproduce/SIZE/plan.yaml has them.

    name: cpu                      # of the size, and of the folders runs/reproduce-NAME and data/reproduce-NAME
    machine: 2 CPU cores           # what its minutes were measured on
    needs_gpu: false               # refuse to begin where there is none
    note: ...                      # a sentence for the results, on how exactly they repeat
    claims: ../claims.yaml         # what is judged, and by which figures
    points: {far: 2048}            # what names in the claims' tests stand for
    stages:
      - name: text                 # also of its folder and its mark
        title: ...                 # for people
        minutes: 40                # for the ETA alone
        sweep: text/sweep.yaml     # a sweep, beside the plan ...
        run: '{ssgpt} ...'         # ... or a command, split into words as a shell would, without its expansions
        makes: ['{data}/...']      # files, globs allowed, that must be there behind it, beside the results in {out}/NAME
        needs: [corpus]            # stages whose results it reads
        reads: [...]               # other files that decide what it makes, relative to the plan
        picture: true              # its picture stands in the results

In commands {ssgpt}, {python}, {out}, {data} and {plan} (the plan's folder) are filled in, and words with * become the paths that they match, but for names
of shards, which ssgpt itself expands. Commands run in the current folder, the repository's.
"""

import dataclasses
import os
import pathlib
import shlex
import string
import sys

import yaml

PLACEHOLDERS = {"ssgpt": "build/release/ssgpt", "python": ".venv/bin/python"}  # as a reader would type them
STAGE_KEYS = {"name": str, "title": str, "minutes": (int, float), "sweep": str, "run": str, "makes": list, "needs": list, "reads": list, "picture": bool}
PLAN_KEYS = {"name": str, "machine": str, "needs_gpu": bool, "note": str, "claims": str, "points": dict, "stages": list}


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
    reads: list  # files beside the plan, for the mark
    is_sweep: bool
    has_picture: bool


@dataclasses.dataclass
class Plan:
    name: str
    folder: pathlib.Path
    machine: str
    needs_gpu: bool
    note: str
    claims: pathlib.Path
    points: dict
    stages: list

    @property
    def out(self):
        return pathlib.Path("runs") / f"reproduce-{self.name}"

    def fill(self, text):
        """The text as a reader would type it."""
        return text.format(**PLACEHOLDERS, out=self.out, data=f"data/reproduce-{self.name}", plan=self.folder)

    def words(self, stage):
        """The command of the stage as it runs here, with paths in the place of globs; a glob that matches nothing is a fault."""
        here = {PLACEHOLDERS["ssgpt"]: os.environ.get("SSGPT_BIN", PLACEHOLDERS["ssgpt"]), PLACEHOLDERS["python"]: sys.executable}
        words = []
        for word in shlex.split(self.fill(stage.command)):
            if "*" not in word or word.endswith(".bin"):
                words.append(here.get(word, word))
                continue
            found = sorted(str(path) for path in pathlib.Path().glob(word))
            if not found:
                raise BadPlan(f"stage {stage.name}: nothing matches {word}")
            words += found
        return words

    def missing(self, stage):
        """Of the files that the stage makes, those that are not there."""
        return [glob for glob in map(self.fill, stage.makes) if not any(pathlib.Path().glob(glob))]

    def results_of(self, stage):
        """The folder with the tables and pictures of a stage, if it makes any."""
        return self.out / stage.name / ("report" if stage.is_sweep else "")


def check_types(place, entry, keys):
    if unknown := sorted(entry.keys() - keys.keys()):
        raise BadPlan(f"{place}: unknown {', '.join(unknown)}; known are {', '.join(keys)}")
    for key, value in entry.items():
        if not isinstance(value, keys[key]) or (keys[key] != bool and isinstance(value, bool)):
            raise BadPlan(f"{place}: {key} = {value!r} is of another type than it should be")


def read_stage(place, entry, names):
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise BadPlan(f"{place}: each stage is a mapping with a name, not {entry!r}")
    name = entry["name"]
    place = f"{place}: stage {name}"
    check_types(place, entry, STAGE_KEYS)
    if ("sweep" in entry) == ("run" in entry):
        raise BadPlan(f"{place} has one of sweep and run")
    if name in names:
        raise BadPlan(f"{place}: two stages are called so")
    if missing := [other for other in entry.get("needs", []) if other not in names]:
        raise BadPlan(f"{place} needs {', '.join(map(str, missing))}, which do not come before it")
    if entry.get("minutes", 1) <= 0:
        raise BadPlan(f"{place}: minutes must be above 0")
    sweep = entry.get("sweep")
    command = f"{{ssgpt}} sweep --config {{plan}}/{sweep} --run-dir {{out}}/{name}" if sweep else " ".join(entry["run"].split())
    fields = {field for _, field, _, _ in string.Formatter().parse(command + "".join(map(str, entry.get("makes", [])))) if field is not None}
    if unknown := sorted(fields - {"ssgpt", "python", "out", "data", "plan"}):
        raise BadPlan(f"{place}: unknown placeholder {{{unknown[0]}}}")
    makes = [f"{{out}}/{name}/report/comparison.json"] if sweep else [f"{{out}}/{name}/*.json"] if f"--out {{out}}/{name}" in command else []
    return Stage(name=name, title=entry.get("title", name), minutes=float(entry.get("minutes", 1)), command=command,
                 makes=makes + entry.get("makes", []), needs=entry.get("needs", []),
                 reads=([sweep] if sweep else []) + entry.get("reads", []), is_sweep=bool(sweep), has_picture=entry.get("picture", False))


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
    check_types(path, data, PLAN_KEYS)
    stages = []
    for entry in data["stages"]:
        stages.append(read_stage(path, entry, [stage.name for stage in stages]))
    return Plan(name=data["name"], folder=folder, machine=data.get("machine", "the machine that it was planned for"), needs_gpu=data.get("needs_gpu", False),
                note=data.get("note", ""), claims=pathlib.Path(os.path.normpath(folder / data["claims"])), points=data.get("points", {}), stages=stages)
