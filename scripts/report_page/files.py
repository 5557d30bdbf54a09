"""Writing files that appear whole or not at all, and figures among them."""

import contextlib
import os

STYLE = {
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#ECEDEA",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.axisbelow": True,
    "font.family": "DejaVu Sans",
    "text.parse_math": False,  # a $ in a name has no meaning
}


def add_legend(owner, entries, **style):
    """A legend of [(artist, name)] in axes or a figure, with any names: Matplotlib leaves out those that begin with
    "_", unless they are set later."""
    legend = owner.legend([artist for artist, _ in entries], [str(i) for i in range(len(entries))], **style)
    for shown, (_, name) in zip(legend.get_texts(), entries):
        shown.set_text(name)
    return legend


def write_text(path, text):
    """Writes in UTF-8, whatever the locale is."""
    write_atomically(path, lambda p: p.write_text(text, encoding="utf-8"))


def write_atomically(path, write):
    """`write` writes a file with the name that it is given. Raises OSError, which names `path`."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        write(temporary)
        os.replace(temporary, path)
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise
    finally:
        with contextlib.suppress(OSError):  # the first error matters more
            temporary.unlink(missing_ok=True)


def save_figure(path, size, draw):
    """`draw` draws into a figure with that width and height in inches."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    with plt.rc_context(STYLE):
        figure = plt.figure(figsize=size, layout="constrained")
        draw(figure)
        write_atomically(path, lambda p: figure.savefig(p, dpi=150, format="png"))
        plt.close(figure)
