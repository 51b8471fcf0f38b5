"""The compatibility table has the locked versions, and the locks contain nothing unneeded."""

import json
from pathlib import Path

import client_table
import pytest
from locks import ENTRY
from paths import ROOT
from stock_clients import CLIENTS, FOLDERS, StockClient

PYTHON_LOCKS = sorted(FOLDERS.glob("*/requirements.txt"))
NODE_LOCKS = sorted(FOLDERS.glob("*/package-lock.json"))
TABLE = client_table.read()


def folder(path: Path) -> str:
    return path.parent.name


def test_the_rows_of_the_table_have_the_order_of_the_clients() -> None:
    assert list(TABLE) == [client.name for client in CLIENTS]


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_a_row_has_the_locked_version(client: StockClient) -> None:
    row = TABLE[client.name]

    assert row.version == client.environment.version(client.package), "make clients"
    assert row.transport == client.transport
    assert (row.text_turn, row.audio_turn, row.function_call) == ("yes", "yes", "yes")


def test_every_locked_package_belongs_to_a_client_that_is_run() -> None:
    makefile = (ROOT / "Makefile").read_text()
    run = {client.environment.lock for client in CLIENTS}

    assert {*PYTHON_LOCKS, *NODE_LOCKS} <= run
    assert all(folder(lock) in makefile for lock in (*PYTHON_LOCKS, *NODE_LOCKS))


@pytest.mark.parametrize("lock", PYTHON_LOCKS, ids=folder)
def test_a_python_lock_has_only_pins_with_hashes(lock: Path) -> None:
    assert ENTRY.sub("", lock.read_text()) == ""


@pytest.mark.parametrize("lock", NODE_LOCKS, ids=folder)
def test_a_node_lock_has_checksums_and_no_host(lock: Path) -> None:
    packages = json.loads(lock.read_text())["packages"]
    packages.pop("")

    assert packages
    assert all(package["integrity"].startswith("sha512-") for package in packages.values())
    assert not any("resolved" in package for package in packages.values())
