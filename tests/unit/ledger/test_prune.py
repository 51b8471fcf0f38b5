"""The deletion of old sessions."""

from datetime import timedelta
from pathlib import Path

from ledgers import MIDNIGHT, NOON, as_objects, end, opened, report, session

from relay.ledger.check import check_ledger
from relay.ledger.prune import prune_ledger


def test_old_sessions_are_deleted_with_their_reports(recorded: Path) -> None:
    assert prune_ledger(recorded, MIDNIGHT) == 1

    assert [row["session"] for row in as_objects(recorded, "session")] == ["three", "two"]
    assert check_ledger(recorded).problems == ()
    assert prune_ledger(recorded, MIDNIGHT) == 0
    assert prune_ledger(recorded, MIDNIGHT + timedelta(days=365)) == 1
    assert [row["session"] for row in as_objects(recorded, "session")] == ["three"]


def test_deleted_data_is_in_no_file_any_more(recorded: Path) -> None:
    prune_ledger(recorded, MIDNIGHT + timedelta(days=365))

    for left in recorded.parent.iterdir():
        assert b"sess_upstreamcompleted" not in left.read_bytes()
        assert b"gpt-transcribe" not in left.read_bytes()


def files(folder: Path) -> list[Path]:
    return list(folder.iterdir())


async def test_a_relay_continues_to_write_while_old_sessions_are_deleted(tmp_path: Path) -> None:
    file = tmp_path / "usage.db"
    async with opened(file) as ledger:
        for number in range(5):
            await ledger.session_started(session(str(number), client="forgotten"))
            await ledger.used(*report(str(number), "r"))
            await ledger.session_ended(end(str(number)))
        await ledger.session_started(session("now"))

        assert prune_ledger(file, NOON + timedelta(seconds=1)) == 5
        assert not any(b"forgotten" in left.read_bytes() for left in files(tmp_path))
        await ledger.used(*report("now", "r"))

    assert [row["session"] for row in as_objects(file, "session")] == ["now"]
    assert check_ledger(file).problems == ()
