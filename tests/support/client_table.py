"""The compatibility table of docs/clients.md: the tests of the clients read and write it."""

from dataclasses import astuple, dataclass

from paths import ROOT
from stock_clients import CLIENTS

DOCUMENT = ROOT / "docs/clients.md"
BEGIN, END = "<!-- table -->\n", "<!-- /table -->\n"


@dataclass(frozen=True, slots=True)
class Row:
    """The row of one client: a cell for each column."""

    client: str
    version: str
    transport: str
    text_turn: str
    audio_turn: str
    function_call: str
    notes: str

    @classmethod
    def parse(cls, line: str) -> "Row":
        """Return the row of a line of the table."""
        return cls(*(cell.strip() for cell in line.strip(" |\n").split(" | ")))

    def __str__(self) -> str:
        return f"| {' | '.join(astuple(self))} |"


def read() -> dict[str, Row]:
    """Return the rows of the table by their client."""
    rows = map(Row.parse, _parts()[1].splitlines()[2:])
    return {row.client: row for row in rows}


def write(row: Row) -> None:
    """Replace the row of a client in the table."""
    known = read() | {row.client: row}
    rows = [str(known[client.name]) for client in CLIENTS if client.name in known]
    before, table, after = _parts()
    lines = [*table.splitlines()[:2], *rows, ""]
    DOCUMENT.write_text(before + BEGIN + "\n".join(lines) + END + after, encoding="utf-8")


def _parts() -> tuple[str, str, str]:
    before, _, rest = DOCUMENT.read_text(encoding="utf-8").partition(BEGIN)
    table, _, after = rest.partition(END)
    return before, table, after
