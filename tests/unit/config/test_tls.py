"""The problems of a certificate and its key that ``relay check`` reports."""

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
    """Run ``relay check`` on a section ``server``; return the exit status and the output."""

    def checked(server: str) -> tuple[int, str]:
        path = write_config(tmp_path, "http://127.0.0.1:1/v1", f"server:\n{server}")
        status = cli.main(["check", "--config", str(path)])
        printed = capsys.readouterr()
        assert printed.err == ""
        return status, printed.out.replace(f"{path}:", "").rstrip()

    return checked


@pytest.mark.parametrize(("server", "problem"), UNUSABLE)
def test_an_unusable_file_is_a_problem_with_its_line(
    tmp_path: Path, check: Check, server: str, problem: str
) -> None:
    issue(tmp_path)
    issue(tmp_path, "other")
    issue(tmp_path, "weak", rsa_bits=1024)
    issue(tmp_path, "locked", passphrase="of-the-owner")

    assert check(server) == (2, problem)


def test_a_missing_certificate_does_not_hide_other_problems(check: Check) -> None:
    status, output = check("  tls_cert: nowhere.pem\n  tls_key: nowhere.key\n  port: x\n")

    assert status == 2
    assert [line.split(": ")[1] for line in output.splitlines()] == [
        "server.tls_cert",
        "server.port",
    ]


def test_a_certificate_with_its_key_is_no_problem(tmp_path: Path, check: Check) -> None:
    issue(tmp_path)
    status, output = check(CERT + KEY)

    assert (status, "no problems" in output, "warning" in output) == (0, True, False)


def test_an_expired_certificate_is_a_warning(tmp_path: Path, check: Check) -> None:
    ended = valid_until(issue(tmp_path, days=-3).cert)
    status, output = check(CERT + KEY)

    assert status == 0
    assert f"server.tls_cert: warning: expired on {ended:%Y-%m-%d}\n" in output


def test_no_certificate_can_be_written_as_null(check: Check) -> None:
    status, printed = check("  tls_cert: null\n  tls_key: null\n")

    assert (status, printed) == (0, " no problems. Personas: receptionist.")
