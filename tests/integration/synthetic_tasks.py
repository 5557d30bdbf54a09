"""An independent implementation of the synthetic tasks and their random numbers, from the grammar in data/README.md.

A window is a list of tokens; a trial is a window and the positions of its answers.
"""

import math

WORD = 0xFFFFFFFF


def philox(counter, key):
    """The first 64 bits of a block of Philox-4x32-10 (Salmon et al., SC 2011)."""
    for _ in range(10):
        first, second = 0xD2511F53 * counter[0], 0xCD9E8D57 * counter[2]
        left, right = (second >> 32) ^ counter[1] ^ key[0], (first >> 32) ^ counter[3] ^ key[1]
        counter = [left, second & WORD, right, first & WORD]
        key = [(key[0] + 0x9E3779B9) & WORD, (key[1] + 0xBB67AE85) & WORD]
    return counter[0] | counter[1] << 32


def halves(number):
    return [number & WORD, number >> 32]


def integers(seed, stream, index):
    """A function that draws uniformly from first..last, in the sequence with this index of the named stream."""
    name = 0xCBF29CE484222325
    for byte in stream.encode():  # FNV-1a
        name = (name ^ byte) * 0x100000001B3 % 2**64
    stream_key = philox([*halves(name), 0, 1], halves(seed))
    key = philox([*halves(index), 0, 0], halves(stream_key))
    drawn = 0

    def between(first, last):
        nonlocal drawn
        uniform = (philox([*halves(drawn), 0, 0], halves(key)) >> 11) * 2.0**-53
        drawn += 1
        return first + int(uniform * (last - first + 1))

    return between


def repeated(between, segment, length, vocab):
    symbols = [between(0, vocab - 1) for _ in range(segment)]
    return [symbols[i % segment] for i in range(length)]


def copy_window(seed, index, length, vocab):
    between = integers(seed, f"synthetic copy training {length}", index)
    segment = between(math.ceil(length / 8), length // 2)
    return repeated(between, segment, length, vocab)


def copy_trial(seed, index, length, vocab):
    segment = math.ceil(length / 2)
    between = integers(seed, f"synthetic copy trial {length}", index)
    return repeated(between, segment, length, vocab), list(range(segment + 4, length))


def draw_key(between, vocab):
    left = list(range(1, 1 + (vocab - 1) // 2))
    return [left.pop(between(0, len(left) - 1)) for _ in range(4)]


def noise(between, count, vocab):
    return [between(1 + (vocab - 1) // 2, vocab - 1) for _ in range(count)]


def passkey_window(seed, index, length, vocab):
    between = integers(seed, f"synthetic passkey training {length}", index)
    groups = 2 ** between(1, int(math.log2(length // 5)))
    key = draw_key(between, vocab)
    tokens = []
    for left in range(length - 4 * groups, 0, -1):
        if between(0, left - 1) < groups:
            tokens += [0, *key]
            groups -= 1
        else:
            tokens += noise(between, 1, vocab)
    return tokens


def passkey_trial(seed, index, length, vocab):
    between = integers(seed, f"synthetic passkey trial {length}", index)
    depth = between(0, length - 10)
    key = draw_key(between, vocab)
    tokens = noise(between, depth, vocab) + [0, *key]
    tokens += noise(between, length - 10 - depth, vocab) + [0, *key]
    return tokens, list(range(length - 4, length))


def key_value_window(seed, index, length, vocab):
    between = integers(seed, f"synthetic key_value training {length}", index)
    count = 2 ** between(1, int(math.log2(min(length // 3 // 2, (vocab // 2) ** 2))))
    front, pairs = key_value_pairs(between, length, vocab, count)
    return front + [token for _ in range(length // 3) for token in pairs[between(0, count - 1)]]


def key_value_pairs(between, length, vocab, count):
    front = [between(vocab // 2, vocab - 1) for _ in range(length % 3)]
    values = {}
    while len(values) < count:
        key = between(0, (vocab // 2) ** 2 - 1)
        if key not in values:
            values[key] = between(vocab // 2, vocab - 1)
    return front, [[*divmod(key, vocab // 2), value] for key, value in values.items()]


def key_value_trial(seed, index, length, vocab):
    between = integers(seed, f"synthetic key_value trial {length}", index)
    asked = length // 3 // 2
    front, pairs = key_value_pairs(between, length, vocab, length // 3 - asked)
    order = list(range(len(pairs)))
    for i in range(asked):
        j = between(i, len(pairs) - 1)
        order[i], order[j] = order[j], order[i]
    tokens = front + [token for pair in pairs + [pairs[i] for i in order[:asked]] for token in pair]
    return tokens, [length - 1 - 3 * i for i in reversed(range(asked))]
