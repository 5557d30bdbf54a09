"""closed_forms.json, as `ssgpt evaluate closed-forms --out DIR` writes it, and its picture."""

from report_page import closed_forms_formats
from report_page.files import add_legend
from report_page.schema import read_json
from report_page.styles import color, slots

WIDTH, HEIGHT = 9, 3.9  # inches
GUIDE = {"color": "#808890", "linewidth": 1, "linestyle": ":"}
LINES = ["-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2))]  # for the first n, the second, ...


class ClosedForms:
    def __init__(self, directory):
        """Raises schema.Damaged."""
        self.data = read_json(
            directory / "closed_forms.json", "ssgpt-closed-forms", closed_forms_formats.VERSION, closed_forms_formats.closed_forms
        )
        names = [curve["attention"] for curve in self.data["fading"]["curves"]]
        self.slot = slots(list(dict.fromkeys(names + [curve["attention"] for curve in self.data["focus"]["curves"]])))
        self.sizes = list(dict.fromkeys(curve["n"] for curve in self.data["focus"]["curves"]))

    def title(self):
        return f"Row scales on given vectors: s = {self.data['scale']:g}, b = {self.data['bias']:g}"


def draw_fading(axes, forms, colors):
    fading = forms.data["fading"]
    for curve in fading["curves"]:
        slot = forms.slot[curve["attention"]]
        axes.plot(fading["lengths"], curve["weights"], color=colors[color(slot)], linewidth=1.7)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    axes.xaxis.set_minor_formatter(lambda value, _: "")
    axes.set_xlabel("n")
    axes.set_ylabel("weight")
    axes.set_title(f"One logit at {fading['high']:g} among n − 1 at {fading['low']:g}", loc="left")
    axes.set_ylim(-0.03, 1.03)


def draw_focus(axes, forms, colors):
    focus = forms.data["focus"]
    for curve in focus["curves"]:
        slot = forms.slot[curve["attention"]]
        style = LINES[forms.sizes.index(curve["n"]) % len(LINES)]
        axes.plot(focus["maxima"], curve["weights"], color=colors[color(slot)], linestyle=style, linewidth=1.3)
    for place, name in ((focus["spread_below"], " 1/s"), (focus["focused_above"], " 1 + 1/s")):
        axes.axvline(place, **GUIDE)
        axes.text(place, 1.0, name, transform=axes.get_xaxis_transform(), verticalalignment="top", fontsize=8.5)
    axes.set_xlabel("z")
    axes.set_ylabel("weight")
    axes.set_title("One logit at z among n − 1 from 0 to 1", loc="left")
    axes.set_ylim(-0.03, 1.03)


def size(_):
    """Width and height in inches of what draw() draws."""
    return WIDTH, HEIGHT


def draw(forms, figure, colors):
    """Draws into `figure`, or a part of one."""
    from matplotlib.lines import Line2D

    left, right = figure.subplots(1, 2)
    draw_fading(left, forms, colors)
    draw_focus(right, forms, colors)
    formula = {curve["attention"]: curve["row_scale"] for curve in forms.data["fading"]["curves"]}
    entries = [
        (Line2D([], [], color=colors[color(slot)]), f"{name}: c(n) = {formula.get(name, '?')}")
        for name, slot in forms.slot.items()
    ]
    entries += [
        (Line2D([], [], color="#404850", linestyle=LINES[i % len(LINES)]), f"n = {n:,}") for i, n in enumerate(forms.sizes)
    ]
    add_legend(
        figure, entries, loc="outside lower center", ncols=min(4, len(entries)), frameon=False, fontsize=8.5, handlelength=3.2
    )
