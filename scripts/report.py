#!/usr/bin/env python3
"""Draws what `ssgpt compare RUN RUN... --out DIR` wrote, as DIR/comparison.png and DIR/report.html, and what `ssgpt
evaluate position|retrieval|needle|attention --out DIR` wrote, as DIR/evaluation.png and DIR/report.html; for needles
evaluated with --attention also DIR/needle_attention.png. For `ssgpt evaluate closed-forms --out DIR` it draws
DIR/closed_forms.png.

    .venv/bin/python scripts/report.py runs/quickstart/report
    .venv/bin/python scripts/report.py runs/quickstart/report runs/copying/report --picture both.png

The page is one file: it makes no request, and works without JavaScript. With --picture the pictures of all the
directories are drawn below each other into one file, and nothing else is written; for a retrieval it shows only the
accuracy, for needles only the share of right answers. Exit codes: 0 done; 1 a file cannot be written; 2 wrong usage; 3
a file is missing or damaged.
"""

import argparse
import contextlib
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent))
from report_page import (
    attention_figure,
    attention_page,
    closed_forms,
    comparison_figure,
    evaluation_figure,
    evaluation_page,
    needle_attention,
    needle_attention_figure,
    needle_figure,
    page,
)
from report_page.comparison import Comparison
from report_page.elements import listed, shortened
from report_page.evaluation import Evaluation
from report_page.files import save_figure, write_text
from report_page.schema import Damaged
from report_page.styles import COLORS

FAILED, WRONG_USAGE, DAMAGED = 1, 2, 3


class WrongUsage(Exception):
    pass


@contextlib.contextmanager
def drawing(directory, command):
    """Turns errors into one that names the damaged directory. Fields that pass the checks one by one may still not make
    sense together, and then drawing fails in the arithmetic."""
    try:
        yield
    except Damaged as damage:
        reason = str(damage)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        reason = f"its values do not fit together ({type(error).__name__}: {error})"
    except MemoryError:
        reason = "drawing it takes more memory than there is"
    else:
        return
    raise Damaged(
        f"{directory}: not what `ssgpt {command} --out` writes, or damaged: {' '.join(reason.split())}; write it again"
    )


def require_folder(directory):
    if not directory.is_dir():
        raise Damaged(
            f"{directory}: no such folder; write it first, with `ssgpt compare ... --out {directory}` or `ssgpt evaluate ... --out {directory}`"
        )


def holds_closed_forms(directory):
    return (directory / "closed_forms.json").exists() and not is_evaluation(directory)


def is_evaluation(directory):
    evaluated = (directory / "evaluation.json").exists()
    if evaluated and (directory / "comparison.json").exists():
        raise WrongUsage(
            f"{directory} holds a comparison and an evaluation, whose pages have the same name: write each into a "
            "directory of its own"
        )
    return evaluated


def report_comparison(directory):
    """Draws the picture and the page, as the others do, and returns the files."""
    picture, written = directory / "comparison.png", directory / "report.html"
    with drawing(directory, "compare"):
        comparison = Comparison(directory)
        text = page.build_page(comparison)
        save_figure(
            picture, comparison_figure.size(comparison), lambda figure: comparison_figure.draw(comparison, figure)
        )
    write_text(written, text)
    return [picture, written]


def size_and_draw(evaluation, figures):
    """(size, function that draws into a figure or a part of one) for those of `figures`; attention and needles
    differ."""
    if evaluation.is_attention:
        return attention_figure.size(evaluation), lambda figure: attention_figure.draw(evaluation, figure, COLORS)
    drawer = needle_figure if evaluation.is_needle else evaluation_figure
    return drawer.size(evaluation, figures), lambda figure: drawer.draw(evaluation, figure, COLORS, figures)


def report_evaluation(directory):
    picture, of_attention, written = (directory / name for name in ("evaluation.png", "needle_attention.png", "report.html"))
    with drawing(directory, "evaluate"):
        evaluation = Evaluation(directory)
        pages = attention_page if evaluation.is_attention else evaluation_page
        text = pages.build_page(evaluation)
        save_figure(picture, *size_and_draw(evaluation, evaluation.figures))
        if needle_attention.is_there(evaluation):
            size = needle_attention_figure.size(evaluation)
            save_figure(of_attention, size, lambda figure: needle_attention_figure.draw(evaluation, figure, COLORS))
    write_text(written, text)
    return [picture, *([of_attention] if needle_attention.is_there(evaluation) else []), written]


def report_closed_forms(directory):
    picture = directory / "closed_forms.png"
    with drawing(directory, "evaluate closed-forms"):
        forms = closed_forms.ClosedForms(directory)
        save_figure(picture, closed_forms.size(forms), lambda figure: closed_forms.draw(forms, figure, COLORS))
    return [picture]


def report_directory(directory):
    """Draws the picture and the page of a directory, whatever it holds, and returns the files.

    Raises WrongUsage, Damaged, OSError."""
    if holds_closed_forms(directory):
        return report_closed_forms(directory)
    return report_evaluation(directory) if is_evaluation(directory) else report_comparison(directory)


def part_of_picture(directory):
    """(heading, size, function that draws into a part of a figure) for a directory."""
    if holds_closed_forms(directory):
        forms = closed_forms.ClosedForms(directory)
        return forms.title(), closed_forms.size(forms), lambda part: closed_forms.draw(forms, part, COLORS)
    if not is_evaluation(directory):
        comparison = Comparison(directory)
        heading = f"Pretraining loss: {listed([v['label'] for v in comparison.variants])}"
        return heading, comparison_figure.size(comparison), lambda part: comparison_figure.draw(comparison, part)
    evaluation = Evaluation(directory)
    return evaluation.title(), *size_and_draw(evaluation, evaluation.figures[:1])


def refuse_input(directories, path):
    """Refuses to overwrite an input with a picture."""
    for directory in directories:
        for name in ("comparison.json", "comparison.csv", "evaluation.json", "closed_forms.json"):
            read = directory / name
            if read.exists() and path.exists() and path.samefile(read):
                raise WrongUsage(f"--picture {path}: it is an input as well; write to another place")


def draw_picture(directories, path):
    """Draws the pictures of the directories below each other, each under a heading."""
    parts = []
    commands = [
        "evaluate" if is_evaluation(directory) or holds_closed_forms(directory) else "compare" for directory in directories
    ]
    for directory, command in zip(directories, commands):
        with drawing(directory, command):
            parts.append(part_of_picture(directory))
    heights = [size[1] + 0.5 for _, size, _ in parts]  # inches, with half an inch for the heading

    def draw(figure):
        drawn = figure.subfigures(len(parts), 1, height_ratios=heights, squeeze=False, hspace=0.03)[:, 0]
        for directory, command, part, (heading, _, draw_part) in zip(directories, commands, drawn, parts):
            with drawing(directory, command):
                part.suptitle(shortened(heading, 90), x=0.01, horizontalalignment="left", fontsize=13, fontweight="bold")
                draw_part(part)

    save_figure(path, (max(size[0] for _, size, _ in parts), sum(heights)), draw)


def draw_all(arguments):
    for directory in arguments.directories:
        require_folder(directory)
    if arguments.picture:
        refuse_input(arguments.directories, arguments.picture)
        draw_picture(arguments.directories, arguments.picture)
        print(arguments.picture)
        return
    for directory in arguments.directories:
        print(*report_directory(directory), sep="\n")


def main(words=None):
    """Draws what the command line asks for; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "directories",
        nargs="+",
        metavar="directory",
        type=pathlib.Path,
        help="directory given to `ssgpt compare --out` or `ssgpt evaluate ... --out`",
    )
    parser.add_argument("--picture", type=pathlib.Path, help="draw one picture of all directories into this PNG file")
    try:
        draw_all(parser.parse_args(words))
    except WrongUsage as error:
        print(error, file=sys.stderr)
        return WRONG_USAGE
    except Damaged as damage:
        print(damage, file=sys.stderr)
        return DAMAGED
    except OSError as error:
        print(f"{error.filename or 'a picture'}: {error.strerror}", file=sys.stderr)
        return FAILED
    return 0


if __name__ == "__main__":
    sys.exit(main())
