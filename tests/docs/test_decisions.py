"""The table of the decisions agrees with their pages."""

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from paths import ROOT

FOLDER = ROOT / "docs/decisions"
PAGES = sorted(FOLDER.glob("[0-9]*.md"))
STATUS = re.compile(r"accepted|(?:amended|superseded) by \[(?P<number>\d{3})\]\((?P<name>[^)]+)\)")
ROW = re.compile(
    r"^\| \[(?P<number>\d{3})\]\((?P<name>[^)]+)\) \| (?P<title>.+) \| (?P<status>.+) \| .+ \|$",
    re.MULTILINE,
)


class Entry(NamedTuple):
    """One decision, as its page or the table describes it."""

    number: str
    name: str
    title: str
    status: str


def entry_of(page: Path) -> Entry:
    """Return the entry of a page, from its title and from the line under the title."""
    head = re.match(r"# (\d{3}): (.+)\n\nStatus: (.+)\n\n## ", page.read_text(encoding="utf-8"))
    assert head is not None, f"{page.name} does not start with a title and a status"
    number, title, status = head.groups()
    return Entry(number, page.name, title, status)


def test_the_table_has_each_page_with_its_number_title_and_status() -> None:
    table = (FOLDER / "README.md").read_text(encoding="utf-8")

    rows = [Entry(**row.groupdict()) for row in ROW.finditer(table)]

    assert rows == [entry_of(page) for page in PAGES]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name[:3])
def test_a_status_is_accepted_or_names_a_later_page_that_links_back(page: Path) -> None:
    status = STATUS.fullmatch(entry_of(page).status)

    assert status is not None
    if later := status["name"]:
        assert later.startswith(f"{status['number']}-")
        assert later > page.name
        assert f"]({page.name})" in (FOLDER / later).read_text(encoding="utf-8")
