"""Options of a model beside its kind of attention: tests run over a set in which every pair of values of two options occurs, with
kind and documents among the options."""

from attention_kinds import KINDS

ROTATIONS = [{}, {"rope_fraction": 0.5}, {"nope_layers": [1]}, {"rope_fraction": 0.5, "nope_layers": {"every": 2}}]
DOCUMENT_END = 7


def cover_pairs():
    """(kind, model section, whether documents are kept apart) for each; models have two layers or more, head dimension 4 or
    more."""
    for i, kind in enumerate(KINDS):
        for j, rotation in enumerate(ROTATIONS):
            norm = {"qk_norm": "rms"} if (i + j) % 2 else {}
            if norm or rotation:
                yield kind, {**norm, **rotation}, (i + j // 2) % 2 == 1


# Options that make a Qwen 3 of transformers, and the others.
VARIANTS = [("softmax", {"qk_norm": "rms"}, False), *cover_pairs()]


def name_of(variant):
    kind, options, documents = variant
    parts = [kind, *("norm" for key in options if key == "qk_norm"), *("half" for key in options if key == "rope_fraction"),
             *("nope" for key in options if key == "nope_layers"), *(["documents"] if documents else [])]
    return "-".join(parts)


def resolved(options):
    """The same options for a model of two layers, without `every`."""
    return {key: [1] if key == "nope_layers" else value for key, value in options.items()}
