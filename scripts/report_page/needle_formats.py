"""The fields of needles in evaluation.json that are drawn, and how they must agree."""

from report_page.schema import Damaged, choice, count, drawn, fields, known, number, quoted, same_length, several, share

TRIAL_OUTCOMES = ("right", "first digit", "wrong")
MOST_HEADS = 25  # per result
LARGEST_WEIGHT = 1.001  # a sum of weights in float32 may round to more than 1

weight = known(number(0, LARGEST_WEIGHT))
head = {"layer": count(), "head": count()}
ATTENTION = fields(
    {
        "heads": several(fields({**head, "mean": weight}), least=1, most=MOST_HEADS),
        "trials": several(fields({**head, "weight": weight, "outcome": known(choice(*TRIAL_OUTCOMES))}), least=1),
    }
)
FIELDS = fields(
    {
        "length": count(1),
        "depth": count(0, 100),
        "trials": count(1),
        "correct": known(count()),
        "share_right": share,
        "share_right_low": share,
        "share_right_high": share,
        "margin": drawn,
        "margin_stderr": drawn,
        "attention": ATTENTION,
    },
    optional=("attention",),
)


def needle(found, where):
    """The fields of a share come together, and so do the fields of each trial."""
    FIELDS(found, where)
    ends = [found[key] for key in ("correct", "share_right_low", "share_right_high")]
    if any(end is None for end in ends) != all(end is None for end in ends):
        raise Damaged(f"{where} has one of correct, share_right_low and share_right_high, and not all")
    if ends[0] is not None and (ends[0] > found["trials"] or ends[1] > ends[2]):
        raise Damaged(f"{where} has more right answers than trials, or an interval whose ends are not in order")
    if "attention" in found:
        attention(found, f"{where}.attention")


def attention(found, where):
    heads, trials = found["attention"]["heads"], found["attention"]["trials"]
    names = [(one["layer"], one["head"]) for one in heads]
    if len(set(names)) < len(names):
        raise Damaged(f"{where}.heads: a head is listed twice")
    means = [-1.0 if one["mean"] is None else one["mean"] for one in heads]
    if means != sorted(means, reverse=True):
        raise Damaged(f"{where}.heads are not in falling order of their means")
    if len(trials) != found["trials"]:
        raise Damaged(f"{where}.trials has {len(trials)} entries, not {found['trials']}")
    right = sum(one["outcome"] == "right" for one in trials)
    if found["correct"] is not None and right != found["correct"]:
        raise Damaged(f"{where}.trials has {right} right answers, and correct is {quoted(found['correct'])}")


def needle_attention(models):
    """Attention is in all results or in none, and the models of a variant have equally many heads."""
    is_there = "attention" in models[0]["results"][0]
    lengths = {}
    for i, model in enumerate(models):
        for j, result in enumerate(model["results"]):
            where = f"models[{i}].results[{j}].attention"
            if ("attention" in result) != is_there:
                raise Damaged(f"{where} is {'missing' if is_there else 'there'}, unlike in models[0].results[0]")
            if is_there:
                heads = result["attention"]["heads"]
                same_length(heads, lengths.setdefault(model["variant"], heads), f"{where}.heads")


def grid(points):
    """Every length has the same depths, in rising order, so that they are the cells of a map."""
    depths = [one["depth"] for one in points if one["length"] == points[0]["length"]]
    lengths = [one["length"] for one in points[:: len(depths)]]
    cells = [(length, depth) for length in lengths for depth in depths]
    rising = all(sorted(set(axis)) == axis for axis in (lengths, depths))
    if not rising or [(one["length"], one["depth"]) for one in points] != cells:
        raise Damaged("models[0].results are not all depths at each of some lengths, in rising order")
