"""What a JSON file written by ssgpt may hold: checks of its fields, each naming the first one that is wrong.

A check is a function (value, where), in which `where` names the field, as in comparisons[0].training.low. It raises
Damaged, or returns ABSENT if the value counts as null, which then replaces it. Fields that no check names are
accepted."""

import json
import sys

NAME = 4096  # characters of a label or a path
TEXT = 1 << 16  # characters of a note
CONFIG = 1 << 22  # characters of a whole config, a setting or a command, each of which may list all files of the data
ENTRIES = 1 << 20  # of a list
LARGEST = 1e30  # largest number that is drawn, so that sums and axes of such numbers stay finite
FINITE = sys.float_info.max
MOST = (1 << 64) - 1  # largest count, which is the largest seed
DEPTH = 32  # of what may be nested freely


ABSENT = object()


class Damaged(Exception):
    """A file that cannot be drawn; the text says in one line which file, and what is wrong with it."""


def quoted(value):
    """A value as a message quotes it."""
    text = json.dumps(value) if isinstance(value, (str, int, float, bool, type(None))) else type(value).__name__
    return text if len(text) <= 60 else f"{text[:57]}..."


def refuse(where, value, expected):
    raise Damaged(f"{where or 'the whole'} is {quoted(value)}, not {expected}")


def text(longest=NAME):
    def check(value, where):
        if not isinstance(value, str):
            refuse(where, value, "a text")
        if len(value) > longest:
            raise Damaged(f"{where} is a text of {len(value):,} characters, more than {longest:,}")
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise Damaged(f"{where} is not Unicode text")

    return check


def name(value, where):
    text()(value, where)
    if not value:
        refuse(where, value, "a name")


def choice(*values):
    def check(value, where):
        if not isinstance(value, str) or value not in values:
            refuse(where, value, f"one of {', '.join(values)}")

    return check


def flag(value, where):
    if not isinstance(value, bool):
        refuse(where, value, "true or false")


def count(least=0, most=MOST):
    def check(value, where):
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            refuse(where, value, f"a whole number from {least} on" if most == MOST else f"from {least} to {most}")

    return check


def number(least=-LARGEST, most=LARGEST):
    def check(value, where):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            refuse(where, value, "a number")
        if not least <= value <= most:
            refuse(where, value, f"a number from {least:g} to {most:g}")

    return check


def known(check):
    """Accepts null as well, for what is unknown or not finite."""
    return lambda value, where: None if value is None else check(value, where)


share = known(number(0, 1))


def too_large(value):
    """Whether a number is not drawn, like one that is not finite."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and not -LARGEST <= value <= LARGEST


def drawn(value, where):
    """A number, null, or what counts as null: the loss of a diverging run may have any size."""
    return ABSENT if too_large(value) else known(number())(value, where)


def several(check, least=0, most=ENTRIES):
    def check_all(value, where):
        if not isinstance(value, list):
            refuse(where, value, "a list")
        if len(value) < least:
            raise Damaged(f"{where} has {len(value)} entries, fewer than {least}")
        if len(value) > most:
            raise Damaged(f"{where} has {len(value):,} entries, more than the {most:,} that are drawn")
        for i, one in enumerate(value):
            if check(one, f"{where}[{i}]") is ABSENT:
                value[i] = None

    return check_all


def fields(checks, optional=()):
    """Checks an object with these fields; those of `optional` may be missing."""

    def check(value, where):
        if not isinstance(value, dict):
            refuse(where, value, "an object")
        for field, check_field in checks.items():
            place = f"{where}.{field}" if where else field
            if field in value:
                if check_field(value[field], place) is ABSENT:
                    value[field] = None
            elif field not in optional:
                raise Damaged(f"{place} is missing")

    return check


def same_length(found, wanted, where):
    if len(found) != len(wanted):
        raise Damaged(f"{where} has {len(found)} entries, not {len(wanted)}")


def mapping(check, key=name):
    """Checks an object whose field names are not fixed."""

    def check_all(value, where):
        if not isinstance(value, dict):
            refuse(where, value, "an object")
        for field, one in value.items():
            key(field, f"a name in {where}")
            if check(one, f"{where}.{quoted(field)}") is ABSENT:
                value[field] = None

    return check_all


def anything(value, where, depth=0):
    """Accepts any JSON, within bounds."""
    if depth > DEPTH:
        raise Damaged(f"{where} is nested more than {DEPTH} deep")
    if isinstance(value, str):
        text(CONFIG)(value, where)
    elif isinstance(value, dict):
        for field, one in value.items():
            name(field, f"a name in {where}")
            anything(one, f"{where}.{quoted(field)}", depth + 1)
    elif isinstance(value, list):
        for i, one in enumerate(value):
            anything(one, f"{where}[{i}]", depth + 1)
    elif isinstance(value, int) and not -MOST <= value <= MOST:
        refuse(where, value, "a number of 64 bits")


def read_text(path):
    """The text of a file in UTF-8, whatever the locale is."""
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise Damaged(f"{path.name} cannot be read: {error.strerror}")
    except UnicodeDecodeError as error:
        raise Damaged(f"{path.name} is not UTF-8 at byte {error.start}")


def read_json(path, file_format, version, check):
    """The checked contents of a file written by ssgpt. A number that is not finite counts as null."""
    not_finite = dict.fromkeys(("NaN", "Infinity", "-Infinity"))
    try:
        data = json.loads(read_text(path), parse_constant=not_finite.__getitem__)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"{path.name} is not JSON: {error}")
    try:
        if not isinstance(data, dict) or data.get("format") != file_format:
            raise Damaged(f"format is not {file_format}")
        if data.get("version") != version or isinstance(data["version"], (bool, float)):
            found = quoted(data.get("version"))
            raise Damaged(f"it is of version {found}, and this script reads version {version}")
        check(data, "")
    except Damaged as damage:
        raise Damaged(f"{path.name}: {damage}")
    return data
