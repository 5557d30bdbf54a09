"""A report page in a JavaScript engine: its scripts run on the elements of page_dom.js."""

import html.parser
import json
import pathlib
import re

import quickjs

DOM = (pathlib.Path(__file__).parent / "page_dom.js").read_text(encoding="utf-8")
VOID = ("meta", "link", "br")


class Tree(html.parser.HTMLParser):
    """The elements of a page as nested objects for page_dom.js."""

    def __init__(self, page):
        super().__init__()
        self.root = {"tag": "root", "attributes": {}, "children": []}
        self.open = [self.root]
        self.feed(page)
        assert self.open == [self.root], "every element is closed"

    def handle_starttag(self, tag, attributes):
        element = {"tag": tag, "attributes": {name: value or "" for name, value in attributes}, "children": []}
        self.open[-1]["children"].append(element)
        if tag not in VOID:
            self.open.append(element)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open.pop()["tag"] == tag

    def handle_data(self, data):
        self.open[-1]["children"].append(data)


class Browser:
    """Runs the scripts of a page that is `width` pixels wide. Methods take the number of the chart that they are about."""

    def __init__(self, page, width=1000, with_scripts=True):
        self.context = quickjs.Context()
        self.context.eval(DOM)
        self.context.eval(f"load({json.dumps(Tree(page).root)})")
        if with_scripts:
            self.context.eval(re.findall(r"<script>(.*?)</script>", page, re.DOTALL)[-1])
        self.resize(width)

    def resize(self, width):
        self.shape = "wide" if width > 620 else "narrow"
        self.context.eval(f"resize({width})")

    def ask(self, expression, chart=0):
        """The value of an expression, in which `figure` is a chart and `svg` the picture of it that is shown."""
        figure = f'document.querySelectorAll("figure[data-chart]")[{chart}]'
        code = f'((figure) => {{ const svg = figure.querySelector("svg.{self.shape}"); return {expression}; }})({figure})'
        return json.loads(self.context.eval(f"JSON.stringify({code} ?? null)"))

    def fire(self, kind, chart=0, on="svg", **properties):
        """Sends an event to the picture, or to what another expression names; whether its default action is prevented."""
        return self.ask(f"fire({on}, {json.dumps(kind)}, {json.dumps(properties)})", chart)

    def press(self, key, chart=0, **properties):
        return self.fire("keydown", chart, key=key, **properties)

    def drag(self, first, last, chart=0):
        self.fire("pointerdown", chart, clientX=first)
        self.fire("pointermove", chart, clientX=(first + last) / 2)
        self.fire("pointermove", chart, clientX=last)
        self.fire("pointerup", chart, clientX=last)

    def tip(self, chart=0):
        """The rows of the read-out that is visible, or None."""
        if self.ask('figure.querySelector(".tip").style.visibility', chart) != "visible":
            return None
        rows = 'figure.querySelector(".tip").children.map((row) => row.children.map((part) => part.textContent))'
        place = self.ask('figure.querySelector(".place").textContent', chart)
        return place, {name: value for _, name, value in self.ask(rows, chart)[1:]}

    def spoken(self, chart=0):
        return self.ask('figure.querySelector(".spoken").textContent', chart)

    def axes(self, chart=0):
        """The axes' elements as (tag, attributes, text)."""
        parts = 'svg.querySelector(".axes").children.map((e) => [e.tagName, Object.fromEntries(e.attributes), e.textContent])'
        return self.ask(parts, chart)

    def labels(self, chart=0):
        """({text: pixel across}, {text: pixel down}) of the ticks of both axes."""
        texts = [(attributes, text) for tag, attributes, text in self.axes(chart) if tag == "text"]
        across = {text: float(a["x"]) for a, text in texts if a["text-anchor"] == "middle"}
        return across, {text: float(a["y"]) - 4 for a, text in texts[: -1] if a["text-anchor"] == "end"}

    def path(self, css, number=0, chart=0):
        """The parts of a line, each a list of points (x, y)."""
        return points_of(self.ask(f'svg.querySelectorAll("path.{css}")[{number}].getAttribute("d")', chart))


def points_of(path):
    parts = []
    for command, numbers in re.findall(r"([MLlh])([^MLlh]*)", path):
        x, *y = (float(n) for n in re.findall(r"-?[\d.]+(?:e[+-]?\d+)?", numbers))
        if command == "M":
            parts.append([])
        if command != "h":
            before = parts[-1][-1] if command == "l" else (0, 0)
            parts[-1].append((round(before[0] + x, 3), round(before[1] + y[0], 3)))
    return parts
