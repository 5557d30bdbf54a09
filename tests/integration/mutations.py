"""Files as an accident, another program or an attacker leaves them: changes of a valid file, by a seeded generator.

    for mutant in itertools.islice(mutants(data, "json", seed=1), 200): ...

Every mutant is a pure function of (data, kind, seed, its place in the sequence). Kinds: "bytes" does not know the format; "text"
changes words, numbers and lines; "json" also changes values of the parsed tree, and "lines" those of lines of JSON; "safetensors"
changes the JSON header and sets the length to match."""

import json
import random
import struct

NUMBERS = ["0", "-1", "1", "-0.0", "1.5", "1e999", "-1e999", "1e-999", "NaN", "Infinity", "2147483648", "9223372036854775807",
           "9223372036854775808", "-9223372036854775809", "18446744073709551616", "1" * 400, "0x10", "1_000"]
TEXTS = ["", "\x1b[31m", "../../x", "/etc/passwd", "\0", "a" * 100_000, "nan", "float32", "\ud83d", "é", "softmax", "%s{}", "\n", "\u202e"]
# Deeper than any stack allows, yet only a few hundred kilobytes.
DEPTH = 100_000
WORDS = [b"null", b"true", b"[]", b"{}", b'""', b"[[]]", b'{"":{}}', b"[" * DEPTH, b'{"a":' * DEPTH, b"[" * 500 + b"]" * 500,
         b"- " * 2000, b"*a", b"&a [*a]", b"\xff\xfe", b"\xef\xbb\xbf", b"\0" * 9, b"\x1b]0;x\x07", b"\\ud83d", b"{", b"}", b'"', b":", b",",
         b"include: config.json\n", b"!!binary x", b"? ", b"<<: ", b"---\n", b"%"]
EDGES = [0, 1, -1, 2, 255, 256, 65535, 2**31 - 1, 2**31, -(2**31), 2**32 - 1, 2**62, 2**63 - 1, -(2**63)]


def span(rng, data):
    """A place and a length, mostly short."""
    begin = rng.randrange(len(data) + 1)
    return begin, min(len(data), begin + int(2 ** rng.uniform(0, 12)) - 1)


def flip_bits(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8]) if data else 0):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def truncate(rng, data):
    return data[: rng.randrange(len(data) + 1)]


def remove(rng, data):
    begin, end = span(rng, data)
    return data[:begin] + data[end:]


def repeat(rng, data):
    begin, end = span(rng, data)
    return data[:end] + data[begin:end] * rng.choice([1, 2, 50]) + data[end:]


def insert(rng, data):
    begin, _ = span(rng, data)
    return data[:begin] + rng.choice([rng.randbytes(rng.randrange(1, 64)), b"\0" * 100, b"\xff" * 8]) + data[begin:]


def overwrite_integer(rng, data):
    """Overwrites an integer near the beginning, where headers are."""
    width = rng.choice([4, 8])
    if len(data) < width:
        return data
    place = rng.randrange(min(len(data) - width, 1024) // width + 1) * width
    value = rng.choice([*EDGES, len(data), len(data) - 1, rng.getrandbits(40)]) & (2 ** (8 * width) - 1)
    return data[:place] + value.to_bytes(width, "little") + data[place + width :]


def replace_word(rng, data):
    """Replaces a maximal run of letters or of digits."""
    begin, _ = span(rng, data)
    while begin < len(data) and not chr(data[begin]).isalnum():
        begin += 1
    end = begin
    while end < len(data) and (chr(data[end]).isalnum() or data[end] in b"._+-"):
        end += 1
    new = rng.choice([*WORDS, *(number.encode() for number in NUMBERS), *(text.encode(errors="surrogatepass") for text in TEXTS)])
    return data[:begin] + new + data[end:]


def insert_word(rng, data):
    begin, _ = span(rng, data)
    return data[:begin] + rng.choice(WORDS) + data[begin:]


def move_line(rng, data):
    lines = data.splitlines(keepends=True)
    if not lines:
        return data
    line = lines.pop(rng.randrange(len(lines))) if rng.random() < 0.7 else rng.choice(lines)
    if rng.random() < 0.7:
        lines.insert(rng.randrange(len(lines) + 1), line)
    return b"".join(lines)


def places(value, path=()):
    """The paths of all values of a parsed tree."""
    yield path
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def other_value(rng, value):
    if isinstance(value, str) and value and rng.random() < 0.3:
        return value[:-1] + chr(rng.randrange(1, 0x250))
    if isinstance(value, (int, float)) and not isinstance(value, bool) and rng.random() < 0.3:
        return rng.choice([value + 1, -value, value * 2, value // 2, float(value), str(value)])
    return rng.choice([None, True, [], {}, [1], {"a": 1}, [[]], *EDGES, 0.5, 1e300, *TEXTS])


def change_tree(rng, tree):
    """Replaces one value, or removes, renames or adds one key."""
    path = rng.choice(list(places(tree)))
    if not path:
        return other_value(rng, tree) if rng.random() < 0.2 else tree
    parent = tree
    for key in path[:-1]:
        parent = parent[key]
    key, what = path[-1], rng.random()
    if what < 0.6:
        parent[key] = other_value(rng, parent[key])
    elif what < 0.8:
        del parent[key]
    elif isinstance(parent, dict):
        parent[rng.choice(TEXTS)] = parent.pop(key) if what < 0.9 else other_value(rng, None)
    else:
        parent.insert(key, other_value(rng, parent[key]))
    return tree


def change_json(rng, data):
    tree = json.loads(data)
    for _ in range(rng.choice([1, 1, 1, 3])):
        tree = change_tree(rng, tree)
    return json.dumps(tree, indent=rng.choice([None, 2])).encode()


def change_json_line(rng, data):
    lines = data.splitlines()
    place = rng.randrange(len(lines))
    lines[place] = change_json(rng, lines[place]).replace(b"\n", b"")
    return b"".join(line + b"\n" for line in lines)


def change_header(rng, data):
    """Changes the header of a safetensors file."""
    (length,) = struct.unpack("<Q", data[:8])
    header = data[8 : 8 + length]
    header = rng.choice([change_json, replace_word, insert_word, flip_bits])(rng, header)
    return struct.pack("<Q", len(header)) + header + data[8 + length :]


BYTES = [flip_bits, truncate, remove, repeat, insert, overwrite_integer]
TEXT = [flip_bits, truncate, remove, repeat, replace_word, replace_word, insert_word, insert_word, move_line]
CHANGES = {
    "bytes": BYTES,
    "text": TEXT,
    "json": [*TEXT, *[change_json] * 6],
    "lines": [*TEXT, *[change_json_line] * 6],
    "safetensors": [*BYTES, *[change_header] * 8],
}


def mutants(data, kind, seed):
    """Endless; each mutant differs from `data`."""
    number = 0
    while True:
        rng = random.Random(f"{seed}/{number}")
        number += 1
        changed = data
        for _ in range(rng.choice([1, 1, 1, 2])):
            try:
                changed = rng.choice(CHANGES[kind])(rng, changed)
            except (ValueError, RecursionError, struct.error):  # a first change left no JSON for the second
                continue
        if changed != data:
            yield changed
