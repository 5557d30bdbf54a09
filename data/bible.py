#!/usr/bin/env python3
"""Writes the King James Bible as JSON lines, one document per chapter: {"text": "Genesis 1\\n\\nIn the beginning ..."}.

The text is Debian's (package bible-kjv); it is in the public domain. Each verse is a line, without its number.
Usage: data/bible.py OUTPUT.jsonl
"""

import json
import os
import re
import subprocess
import sys

# In the order of the Bible, in which the bible command prints them under its own short names.
BOOKS = """Genesis, Exodus, Leviticus, Numbers, Deuteronomy, Joshua, Judges, Ruth, 1 Samuel, 2 Samuel, 1 Kings, 2 Kings,
1 Chronicles, 2 Chronicles, Ezra, Nehemiah, Esther, Job, Psalm, Proverbs, Ecclesiastes, Song of Solomon, Isaiah, Jeremiah,
Lamentations, Ezekiel, Daniel, Hosea, Joel, Amos, Obadiah, Jonah, Micah, Nahum, Habakkuk, Zephaniah, Haggai, Zechariah,
Malachi, Matthew, Mark, Luke, John, Acts, Romans, 1 Corinthians, 2 Corinthians, Galatians, Ephesians, Philippians,
Colossians, 1 Thessalonians, 2 Thessalonians, 1 Timothy, 2 Timothy, Titus, Philemon, Hebrews, James, 1 Peter, 2 Peter,
1 John, 2 John, 3 John, Jude, Revelation""".replace("\n", " ").split(", ")
NUM_CHAPTERS = 1189
NUM_VERSES = 31102

VERSE = re.compile(r"(\d?[A-Za-z]+)(\d+):(\d+) (.+)")


def read_verses():
    """The lines that the bible command prints, each "Ge1:1 In the beginning ..."."""
    command = ["bible", "-f", "gen1:1-rev22:21"]
    try:
        # In "/", because the command prefers a file bible.data in the current folder.
        output = subprocess.run(command, check=True, capture_output=True, text=True, encoding="utf-8", cwd="/", stdin=subprocess.DEVNULL)
    except FileNotFoundError:
        sys.exit("data/bible.py: the command 'bible' is missing; run scripts/setup.sh (Debian package bible-kjv)")
    except subprocess.CalledProcessError as error:
        sys.exit(f"data/bible.py: {' '.join(command)} failed: {error.stderr.strip()}")
    return output.stdout.splitlines()


def chapters(lines):
    """Yields (short name of the book, chapter, [verse, ...]) in order."""
    current, verses = None, []
    for line in lines:
        match = VERSE.fullmatch(line)
        if not match:
            sys.exit(f"data/bible.py: expected 'BookC:V text' from the bible command, got {line[:80]!r}")
        key = match[1], int(match[2])
        if key != current and current:
            yield *current, verses
            verses = []
        current = key
        verses.append(match[4].strip())
    if current:
        yield *current, verses


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: data/bible.py OUTPUT.jsonl")
    output = sys.argv[1]
    books, documents, num_verses = [], [], 0
    for short_name, chapter, verses in chapters(read_verses()):
        if short_name not in books:
            books.append(short_name)
        num_verses += len(verses)
        title = f"{BOOKS[len(books) - 1]} {chapter}" if len(books) <= len(BOOKS) else short_name
        documents.append({"text": title + "\n\n" + "\n".join(verses) + "\n"})
    found = len(books), len(documents), num_verses
    if found != (len(BOOKS), NUM_CHAPTERS, NUM_VERSES):
        sys.exit(f"data/bible.py: expected {len(BOOKS)} books, {NUM_CHAPTERS} chapters and {NUM_VERSES} verses, found {found}")
    os.makedirs(os.path.dirname(output) or ".", exist_ok=True)
    temporary = f"{output}.tmp"
    with open(temporary, "w", encoding="utf-8") as file:
        for document in documents:
            file.write(json.dumps(document, ensure_ascii=False) + "\n")
    os.replace(temporary, output)
    size = sum(len(document["text"]) for document in documents)
    print(f"{output}: {len(documents)} documents, {size / 1e6:.1f} MB of text")


if __name__ == "__main__":
    main()
