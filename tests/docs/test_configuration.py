"""The page on the configuration is generated from the models."""

import re
import runpy

from paths import ROOT

DOCS = ROOT / "docs"
PAGE = (DOCS / "configuration.md").read_text(encoding="utf-8")


def test_the_page_is_the_output_of_its_generator() -> None:
    """Run ``python docs/generate_configuration.py`` if this fails."""
    generated = runpy.run_path(str(DOCS / "generate_configuration.py"))["reference"]()

    assert generated == PAGE


def test_every_key_has_a_meaning() -> None:
    rows = re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", PAGE, flags=re.MULTILINE)

    assert len(rows) > 60
    assert [key for key, meaning in rows if not meaning.strip()] == []
