"""The file behind an open ledger: whether it is still the file at its path, and whole.

SQLite writes to the file that it has opened, also after the file was deleted or moved
(https://www.sqlite.org/howtocorrupt.html#_unlinking_or_renaming_a_database_file_while_in_use). So
the path is compared before each transaction: device, inode and size, and the same for the log of
writes beside it, without its size. The size of a ledger falls if an operator runs VACUUM; then its
header states the new size.
"""

import os
from pathlib import Path

_HEADER_BYTES = 100
_MAGIC = b"SQLite format 3\x00"
"""The header of a database (https://www.sqlite.org/fileformat.html#the_database_header)."""


class LedgerReplaced(OSError):
    """The file of the open ledger was deleted, moved, replaced or truncated."""


class FileIdentity:
    """The file that a connection has opened."""

    def __init__(self, file: Path) -> None:
        """Remember the file at this path.

        Raises:
            OSError: there is no such file.
        """
        self._file = file
        self._wal = file.with_name(f"{file.name}-wal")
        self._opened, self._opened_wal = file.stat(), self._wal.stat()

    def check(self) -> None:
        """Compare the file at the path with the one that was opened.

        A truncated file is moved aside, because SQLite must not complete it.

        Raises:
            LedgerReplaced: it is another file, or none, or it was truncated.
            OSError: the file cannot be read.
        """
        try:
            found, wal = self._file.stat(), self._wal.stat()
        except FileNotFoundError as missing:
            raise LedgerReplaced(f"{missing.filename}: the file is gone") from None
        is_same = os.path.samestat(found, self._opened)
        if not is_same or not os.path.samestat(wal, self._opened_wal):
            raise LedgerReplaced(f"{self._file}: the file was replaced")
        if found.st_size < self._opened.st_size and not self._is_whole(found.st_size):
            self._file.rename(self._aside())
            raise LedgerReplaced(f"{self._file}: the file was truncated")
        self._opened = found

    def _is_whole(self, size_bytes: int) -> bool:
        """Return whether the header states at most this size."""
        with self._file.open("rb") as file:
            header = file.read(_HEADER_BYTES)
        if len(header) < _HEADER_BYTES or not header.startswith(_MAGIC):
            return False
        page_bytes = int.from_bytes(header[16:18]) or 1
        page_bytes = 65_536 if page_bytes == 1 else page_bytes
        return int.from_bytes(header[28:32]) * page_bytes <= size_bytes

    def _aside(self) -> Path:
        number = 1
        while (aside := self._file.with_name(f"{self._file.name}.truncated-{number}")).exists():
            number += 1
        return aside
