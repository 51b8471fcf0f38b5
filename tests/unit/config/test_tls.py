"""A certificate and its key, before the relay starts: what `relay check` says of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from certificates import LOOPBACK, issue
from relays import write_config

from relay import cli
from relay.wire.tls import valid_until

pytestmark = pytest.mark.usefixtures("own_logging")

Check = Callable[[str], tuple[int, str]]

CERT, KEY = f"  tls_cert: {LOOPBACK}.pem\n", f"  tls_key: {LOOPBACK}.key\n"

UNUSABLE = [
    (CERT, "4: server.tls_key: goes with tls_cert: give both or neither"),
    (KEY, "5: server.tls_key: goes with tls_cert: give both or neither"),
    (
        f"  tls_cert: nowhere.pem\n{KEY}",
        "5: server.tls_cert: cannot be read: No such file or directory",
    ),
    (
        f"  tls_cert: {LOOPBACK}.key\n{KEY}",
        "5: server.tls_cert: must be certificates in PEM format, the relay's own first",
    ),
    (
        f"{CERT}  tls_key: nowhere.key\n",
        "6: server.tls_key: cannot be read: No such file or directory",
    ),
    (
        f"{CERT}  tls_key: {LOOPBACK}.pem\n",
        "6: server.tls_key: must be a private key in PEM format",
    ),
    (f"{CERT}  tls_key: other.key\n", "6: server.tls_key: is not the key of tls_cert"),
    (f"{CERT}  tls_key: weak.key\n", "6: server.tls_key: is not the key of tls_cert"),
    (
        "  tls_cert: weak.pem\n  tls_key: weak.key\n",
        "6: server.tls_key: cannot be used: EE_KEY_TOO_SMALL",
    ),
    (
        "  tls_cert: locked.pem\n  tls_key: locked.key\n",
        "6: server.tls_key: has a passphrase: remove it (openssl pkey -in FILE)",
    ),
]


@pytest.fixture
def check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Check:
    """Run ``relay check`` on a section ``server``; return the exit status and what it says."""

    def checked(server: str) -> tuple[int, str]:
        path = write_config(tmp_path, "http://127.0.0.1:1/v1", f"server:\n{server}")
        status = cli.main(["check", "--config", str(path)])
        said = capsys.readouterr()
        assert said.err == ""
        return status, said.out.replace(f"{path}:", "").rstrip()

    return checked


@pytest.mark.parametrize(("server", "problem"), UNUSABLE)
def test_files_that_cannot_be_used_are_told_with_their_line(
    tmp_path: Path, check: Check, server: str, problem: str
) -> None:
    issue(tmp_path)
    issue(tmp_path, "other")
    issue(tmp_path, "weak", rsa_bits=1024)
    issue(tmp_path, "locked", passphrase="of-the-owner")

    assert check(server) == (2, problem)


def test_a_certificate_without_its_file_does_not_hide_other_problems(check: Check) -> None:
    status, said = check("  tls_cert: nowhere.pem\n  tls_key: nowhere.key\n  port: x\n")

    assert status == 2
    assert [line.split(": ")[1] for line in said.splitlines()] == [
        "server.tls_cert",
        "server.port",
    ]


def test_a_pair_that_fits_is_no_problem(tmp_path: Path, check: Check) -> None:
    issue(tmp_path)
    status, said = check(CERT + KEY)

    assert (status, "no problems" in said, "warning" in said) == (0, True, False)


def test_an_expired_certificate_is_a_warning(tmp_path: Path, check: Check) -> None:
    ended = valid_until(issue(tmp_path, days=-3).cert)
    status, said = check(CERT + KEY)

    assert status == 0
    assert f"server.tls_cert: warning: expired on {ended:%Y-%m-%d}\n" in said


def test_no_certificate_can_be_written_as_null(check: Check) -> None:
    status, printed = check("  tls_cert: null\n  tls_key: null\n")

    assert (status, printed) == (0, " no problems. Personas: receptionist.")
