"""A plan: the stages of a reproduction in their order. configs/reproduce/stages.yaml lists them, and configs/reproduce/SIZE/plan.yaml gives them their numbers.

    name: cpu                      # the size's name, also used in the folders runs/reproduce-NAME and data/reproduce-NAME
    machine: 2 CPU cores           # the machine on which its minutes were measured
    needs_gpu: false               # refuse to start without one
    note: ...                      # a sentence for the results, on how exactly they can be reproduced
    claims: ../claims.yaml         # what is judged, and by which figures; relative to the plan
    stages: ../stages.yaml         # relative to the plan
    points: {far: 2048}            # values of names that the claims' tests and the stages use
    values: {trials: 60}           # values of other names that the stages use
    minutes: {text: 40}            # for the ETA only; 0.1 for a stage that is not listed

and a list of stages:

    - name: text                   # also the name of its folder and its mark
      title: ...                   # for people
      sweep: text/sweep.yaml       # a sweep, beside the plan ...
      run: '{ssgpt} ...'           # ... or a command, split into words as a shell would, without its expansions
      makes: ['{data}/...']        # files, globs allowed, that must exist afterwards, beside the results in {out}/NAME
      needs: [corpus]              # stages whose results it reads
      reads: [data/needles.py]     # other files that decide what it makes
      picture: true                # its picture is shown in the results

In titles and commands {points} and {values} are replaced by name, in commands also {ssgpt}, {python}, {out}, {data} and {plan} (the plan's folder). Words with *
become the paths that they match, except names of shards, which ssgpt itself expands. Commands run in the current folder, which is the repository's root.
"""

import dataclasses
import os
import pathlib
import shlex
import sys

import yaml

PLACEHOLDERS = {"ssgpt": "build/release/ssgpt", "python": ".venv/bin/python"}  # as a reader would type them
FOLDERS = ("out", "data", "plan")
STAGE_KEYS = {"name": str, "title": str, "sweep": str, "run": str, "makes": list, "needs": list, "reads": list, "picture": bool}
PLAN_KEYS = {"name": str, "machine": str, "needs_gpu": bool, "note": str, "claims": str, "points": dict, "values": dict, "minutes": dict, "stages": str}
SHORT = 0.1  # minutes of a stage whose time nobody needs to know


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
    reads: list  # files, for the mark
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
        """The command of the stage as it runs here, with globs replaced by paths; a glob that matches nothing is an error."""
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
        """Those of the files that the stage makes that do not exist."""
        return [glob for glob in map(self.fill, stage.makes) if not any(pathlib.Path().glob(glob))]

    def results_of(self, stage):
        """The folder with the tables and pictures of a stage, if it makes any."""
        return self.out / stage.name / ("report" if stage.is_sweep else "")


def check_types(place, entry, keys):
    if unknown := sorted(entry.keys() - keys.keys()):
        raise BadPlan(f"{place}: unknown {', '.join(unknown)}; known are {', '.join(keys)}")
    for key, value in entry.items():
        if not isinstance(value, keys[key]) or (keys[key] != bool and isinstance(value, bool)):
            raise BadPlan(f"{place}: {key} = {value!r} has the wrong type")


def read_stage(place, entry, names, plan):
    """`plan`: the contents of plan.yaml; `names`: those of the stages before this one."""
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise BadPlan(f"{place}: each stage must be a mapping with a name, not {entry!r}")
    name = entry["name"]
    place = f"{place}: stage {name}"
    check_types(place, entry, STAGE_KEYS)
    if ("sweep" in entry) == ("run" in entry):
        raise BadPlan(f"{place} must have either sweep or run")
    if name in names:
        raise BadPlan(f"{place}: two stages have this name")
    if missing := [other for other in entry.get("needs", []) if other not in names]:
        raise BadPlan(f"{place} needs {', '.join(map(str, missing))}, which do not come before it")
    values = {**plan.get("points", {}), **plan.get("values", {}), **{kept: f"{{{kept}}}" for kept in (*PLACEHOLDERS, *FOLDERS)}}

    def fill(text):
        try:
            return " ".join(text.format(**values).split())
        except (KeyError, IndexError, ValueError) as error:
            raise BadPlan(f"{place}: {text!r} has a placeholder that is neither of the plan's points and values nor one of {', '.join((*PLACEHOLDERS, *FOLDERS))}: {error}") from None

    sweep, title = entry.get("sweep"), fill(entry.get("title", name))
    command = f"{{ssgpt}} sweep --config {{plan}}/{sweep} --run-dir {{out}}/{name}" if sweep else fill(entry["run"])
    makes = [f"{{out}}/{name}/report/comparison.json"] if sweep else [f"{{out}}/{name}/*.json"] if f"--out {{out}}/{name}" in command else []
    return Stage(name=name, title=title, minutes=float(plan.get("minutes", {}).get(name, SHORT)), command=command,
                 makes=makes + [fill(str(path)) for path in entry.get("makes", [])], needs=entry.get("needs", []),
                 reads=([f"{{plan}}/{sweep}"] if sweep else []) + entry.get("reads", []), is_sweep=bool(sweep), has_picture=entry.get("picture", False))


def read_yaml(path, hint=""):
    """What the file holds. Raises BadPlan; `hint` follows the name of a file that does not exist."""
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadPlan(f"{path}: no such file{hint}") from None
    except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadPlan(f"{path}: {' '.join(str(error).split())}") from None


def check_minutes(path, minutes, names):
    if unknown := sorted(map(str, minutes.keys() - set(names))):
        raise BadPlan(f"{path}: minutes of {', '.join(unknown)}, which are not stages")
    for name, number in minutes.items():
        if isinstance(number, bool) or not isinstance(number, (int, float)) or not number > 0:
            raise BadPlan(f"{path}: minutes of {name} are {number!r}, not a number above 0")


def load_plan(folder):
    """The plan in the folder. Raises BadPlan."""
    path = folder / "plan.yaml"
    data = read_yaml(path, "; a size is cpu-short, cpu, gpu, or a folder with a plan.yaml")
    if not isinstance(data, dict) or not {"name", "stages", "claims"} <= data.keys():
        raise BadPlan(f"{path}: a plan must be a mapping with name, claims and stages")
    check_types(path, data, PLAN_KEYS)
    claims, stages_path = (pathlib.Path(os.path.normpath(folder / data[key])) for key in ("claims", "stages"))
    entries = read_yaml(stages_path)
    if not isinstance(entries, list):
        raise BadPlan(f"{stages_path}: it must be a list of stages")
    stages = []
    for entry in entries:
        stages.append(read_stage(stages_path, entry, [stage.name for stage in stages], data))
    check_minutes(path, data.get("minutes", {}), [stage.name for stage in stages])
    return Plan(name=data["name"], folder=folder, machine=data.get("machine", "the machine that it was planned for"), needs_gpu=data.get("needs_gpu", False),
                note=data.get("note", ""), claims=claims, points=data.get("points", {}), stages=stages)
