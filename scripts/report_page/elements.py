"""Numbers as text, and the pieces of HTML from which all parts of the page are made."""

import html
import math
import pathlib

HERE = pathlib.Path(__file__).parent
SCRIPTS = ("plot.js", "script.js")


def esc(value):
    return html.escape(str(value))


def padded(low, high, share=0.06):
    """Limits that hold both, with room beside them: a share of the range, or a minimum if the range is empty."""
    size = max(abs(low), abs(high))
    room = share * (high - low)
    if room <= 1e-12 * size:
        room = max(0.01, 1e-9 * size)
    return low - room, high + room


def shortened(label, most=26):
    """The label, or its beginning and its end if it is longer than `most`."""
    return label if len(label) <= most else f"{label[: most // 2]}…{label[-(most - most // 2 - 1) :]}"


def without_shared_origin(labels):
    """{label: label without " from RUN, CHECKPOINT"}, if all begin from the same ones, so that this tells none apart."""
    origins = {label.partition(" from ")[2] for label in labels}
    return {label: label.partition(" from ")[0] if len(origins) == 1 else label for label in labels}


def signed(value, digits=4):
    return "–" if value is None or math.isnan(value) else f"{value:+.{digits}f}".replace("-", "−")


def plain(value, digits=4):
    return "–" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def decimals(estimate):
    """Decimals for losses: 4, or enough for two digits of the interval's half width if that is smaller (as in the
    table)."""
    if estimate["low"] is None:
        return 4
    return digits_for((estimate["high"] - estimate["low"]) / 2 or abs(estimate["mean_difference"]))


def digits_for(size):
    """Decimals for values of a size, or with an error of that size: 4, or enough for two digits of it."""
    return 4 if size == 0 or size >= 1e-3 else min(12, 1 - math.floor(math.log10(size)))


def listed(names):
    """The names as in "a, b and c", or their number if that is too long for a heading."""
    if any(", " in name for name in names):
        text = "; ".join(names)
    else:
        text = " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return text if len(text) <= 60 else f"{len(names)} variants"


def number_of_seeds(estimate):
    if estimate["sides"]:
        return "{} and {} runs".format(*estimate["sides"][:2])
    return f"{estimate['values']} seed{'' if estimate['values'] == 1 else 's'}"


def is_independent(one):
    """Whether the runs of a comparison are independent samples of what its sides differ in."""
    return one.get("independent", True)


def origin_of(one):
    """A sentence on what the runs began from, after a blank; empty if it limits nothing."""
    return f" {esc(one['origin'])}" if one.get("origin") else ""


def p_value(value):
    return "–" if value is None else "&lt;0.0001" if value < 0.0001 else f"{value:.4f}"


def count(value):
    for size, unit in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if value >= size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.0f}"


LONG_NAME = 24  # characters; a first column with longer ones may wrap on a telephone


def table(head, rows, css=""):
    if not css and any(len(html.unescape(str(row[0]))) > LONG_NAME for row in rows):
        css = "names"
    cells = lambda row, tag: "".join(f"<{tag}>{cell}</{tag}>" for cell in row)
    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    heading = f"<thead><tr>{cells(head, 'th')}</tr></thead>" if head else ""
    return f'<div class="scroll"><table class="{css}">{heading}<tbody>{body}</tbody></table></div>'


def document(title, body):
    """A page without external requests; both arguments are HTML."""
    style, *scripts = ((HERE / name).read_text(encoding="utf-8") for name in ("style.css", *SCRIPTS))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<link rel="icon" href="data:,"><title>{title}</title><style>{style}</style></head><body><main>{body}</main>'
        f"<script>{''.join(scripts)}</script></body></html>\n"
    )


def section(title, about, body):
    about = f'<p class="about">{about}</p>' if about else ""
    return f"<section><h2>{title}</h2>{about}{body}</section>"
