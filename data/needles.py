#!/usr/bin/env python3
"""Writes examples for fine-tuning on needles in a haystack, as JSON lines of prompt and answer.

A prompt is a stretch of a document with `The special magic Tokyo number is: 8106422.` behind one of its sentences, and ends
with the same words up to the number, which is the answer. ssgpt evaluate needle asks in the same form. City, number, stretch
and place are random. The stretch has up to --words words, short ones as often as twice as long ones, so that there are easy
examples to begin with.

    data/needles.py data/bible/kjv.jsonl data/bible/needles.jsonl --examples 20000
"""

import argparse
import json
import pathlib
import random
import re

# The needles of ssgpt evaluate needle name cities too; it is the number that is asked for, and it is new each time.
CITIES = """Accra Amsterdam Athens Baghdad Bangkok Barcelona Beijing Berlin Bogota Boston Brussels Budapest Cairo Caracas Chicago
Copenhagen Dakar Damascus Delhi Dublin Edinburgh Geneva Hamburg Hanoi Havana Helsinki Istanbul Jakarta Jerusalem Karachi Kiev
Kyoto Lagos Lima Lisbon London Madrid Manila Melbourne Milan Montreal Moscow Mumbai Munich Nairobi Naples Osaka Oslo Ottawa
Paris Prague Quito Rome Santiago Seattle Seoul Shanghai Singapore Stockholm Sydney Tehran Tokyo Toronto Tunis Vancouver Venice
Vienna Warsaw Washington Zurich""".split()
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
LEAST_WORDS = 8


def read_documents(path, field):
    """The sentences of each document."""
    with open(path, encoding="utf-8") as lines:
        documents = [SENTENCE_END.split(json.loads(line)[field].strip()) for line in lines]
    return [sentences for sentences in documents if sentences != [""]]


def haystack(documents, words, draw):
    """Consecutive sentences of one document: at most `words` words, or one sentence if that is longer."""
    sentences = draw.choice(documents)
    first = draw.randrange(len(sentences))
    chosen, used = [], 0
    for sentence in sentences[first:]:
        used += len(sentence.split())
        if chosen and used > words:
            break
        chosen.append(sentence)
    return chosen


def example(documents, most_words, draw):
    words = LEAST_WORDS * (most_words / LEAST_WORDS) ** draw.random()
    sentences = haystack(documents, words, draw)
    question = f"The special magic {draw.choice(CITIES)} number is:"
    number = str(draw.randrange(1_000_000, 10_000_000))
    sentences.insert(draw.randrange(len(sentences) + 1), f"{question} {number}.")
    return {"prompt": f"{' '.join(sentences)}\n\n{question}", "answer": f" {number}"}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=pathlib.Path, help="a .jsonl file, a document a line")
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--field", default="text", help="the field of each line that holds the text")
    parser.add_argument("--examples", type=int, default=20_000)
    parser.add_argument("--words", type=int, default=120, help="of the longest stretch of text")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.words < LEAST_WORDS:
        parser.error(f"--words {arguments.words}: at least {LEAST_WORDS} are needed")
    documents = read_documents(arguments.corpus, arguments.field)
    draw = random.Random(arguments.seed)
    with open(arguments.output, "w", encoding="utf-8") as output:
        for _ in range(arguments.examples):
            print(json.dumps(example(documents, arguments.words, draw), ensure_ascii=False), file=output)


if __name__ == "__main__":
    main()
