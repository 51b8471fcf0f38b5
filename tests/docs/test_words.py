"""The texts and the names of the project do not use the words that CONTRIBUTING.md lists."""

import io
import re
import subprocess
import tokenize
from collections.abc import Iterator

import pytest
from documents import blocks, read
from paths import ROOT

CONTRIBUTING = "CONTRIBUTING.md"
HEADING = "\n## Plain words\n"
RULES = read(CONTRIBUTING).partition(HEADING)[2].partition("\n## ")[0]
(WORDS,) = blocks(RULES, "text")
PHRASES = (r"\s+".join(line.split()) for line in WORDS.splitlines())
UNWANTED = re.compile(rf"\b(?:{'|'.join(PHRASES)})\b", re.IGNORECASE)
"""The words of the list. A phrase may continue on the next line."""

STARTS_OF_STATEMENTS = {tokenize.ENCODING, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}


def prose_tokens(source: str) -> Iterator[tuple[tuple[int, int], str]]:
    """Yield the position and the text of comments, docstrings, and names of definitions."""
    before = tokenize.TokenInfo(tokenize.ENCODING, "", (0, 0), (0, 0), "")
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start, token.string.replace("#", " ", 1)
        elif token.type == tokenize.STRING and before.type in STARTS_OF_STATEMENTS:
            yield token.start, token.string
        elif before.string in {"def", "class"}:
            yield token.start, token.string.replace("_", " ")
        if token.type not in {tokenize.COMMENT, tokenize.NL}:
            before = token


def prose(source: str) -> str:
    """Return Python source with NUL instead of code; the numbers of the lines stay the same."""
    lines = [re.sub(r"\S", "\0", line) for line in source.split("\n")]
    for (row, column), text in prose_tokens(source):
        for number, part in enumerate(text.split("\n"), row - 1):
            start = column if number == row - 1 else 0
            lines[number] = lines[number][:start] + part + lines[number][start + len(part) :]
    return "\n".join(lines)


def hits(text: str) -> list[str]:
    """Return each unwanted word in a text, after the number of its line."""
    found = [(text.count("\n", 0, hit.start()) + 1, hit[0]) for hit in UNWANTED.finditer(text)]
    return [f"{line}: {' '.join(words.split())}" for line, words in found]


def texts() -> Iterator[tuple[str, str]]:
    """Yield the name and the prose of each Markdown file and each Python file."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.check_output(listing, cwd=ROOT, text=True).split("\0"):
        file = ROOT / name
        if file.suffix in {".md", ".py"} and file.exists():
            text = file.read_text(encoding="utf-8").replace(RULES, "\n" * RULES.count("\n"))
            yield name, prose(text) if file.suffix == ".py" else text


def test_no_text_and_no_name_has_an_unwanted_word() -> None:
    assert [f"{name}:{hit}" for name, text in texts() for hit in hits(text)] == []


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ('"""Sent\n\nanew."""\n', ["3: anew"]),
        ("def f():\n    # not\n    '''It is\n    told.'''\n", ["4: told"]),
        ('LIMIT = 1\n\n"""Anew."""\n', ["3: Anew"]),
        ("x = 1  # let go\n       # of it\n", ["1: let go of"]),
        ("def test_nobody_answers(): ...\n", ["1: nobody"]),
        ('send(\n    "anew", nobody=1,\n    anew=(\n"anew"\n))\n', []),
    ],
)
def test_comments_docstrings_and_names_of_definitions_are_checked(
    source: str, expected: list[str]
) -> None:
    assert hits(prose(source)) == expected
