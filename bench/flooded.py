"""Floods of one hostile peer, and the round trips of a session that talks beside it.

``python bench/flooded.py [--only NAME]`` prints a table. The relay, the upstreams, the hostile
client and the session that talks have a process each; tests/support/floods.py has the floods.
"""

import argparse
import asyncio
import multiprocessing
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median

from contenders import ROOT

sys.path.append(str(ROOT / "tests/support"))

from floods import FLOODS, Talk, configure, flood_as_client, upstreams
from processes import Process, serving

BEFORE = 100
"""Round trips before the flood, one each 20 ms."""

DURING = 100
"""Round trips from its beginning on, at least."""


async def _serve(name: str, urls: Connection) -> None:
    async with upstreams(name) as pair:
        urls.send(pair)
        await asyncio.get_running_loop().run_in_executor(None, urls.recv)


def _run_upstreams(name: str, urls: Connection) -> None:
    asyncio.run(_serve(name, urls))


def _run_client(port: int, name: str, stranger: bool) -> int | None:  # noqa: FBT001  # it is pickled
    query = ("?persona=unknown", "realtime") if stranger else ("", "other")
    return asyncio.run(flood_as_client(port, name, query[0], Sec_WebSocket_Protocol=query[1]))


async def _measure(relay: Process, side: str, name: str) -> tuple[list[float], list[float]]:
    """Return the round trips before and during a flood, in seconds."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    done.set_result(None)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as processes:
        async with relay.connect() as client:
            talk = Talk(client)
            await talk.open()
            before = await talk.beside(done, BEFORE)
            if side == "upstream":
                async with relay.connect("?persona=hostile"):
                    return before, await talk.beside(done, DURING)
            flood = loop.run_in_executor(
                processes, _run_client, relay.port, name, side == "stranger"
            )
            return before, await talk.beside(flood, DURING)


async def _run(side: str, name: str) -> str:
    """Run one flood; return its row."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_run_upstreams, args=(name, theirs)
    )
    process.start()
    try:
        with tempfile.TemporaryDirectory() as folder:
            async with serving(configure(Path(folder), *ours.recv())) as relay:
                before, during = await _measure(relay, side, name)
    finally:
        ours.send(None)
        process.join()
    return " | ".join(("", side, name, *_cells(before), *_cells(during), "")).strip()


def _cells(trips: Sequence[float]) -> Iterator[str]:
    return (f"{1000 * value:.1f}" for value in (median(trips), max(trips)))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description="Floods beside a session that talks.")
    parser.add_argument("--only", choices=FLOODS, help="one flood")
    only = parser.parse_args().only
    print("| peer | flood | before, p50 ms | max | during, p50 ms | max |")
    print("|---|---|--:|--:|--:|--:|")
    for side in ("client", "stranger", "upstream"):
        for name in [only] if only else FLOODS:
            print(asyncio.run(_run(side, name)), flush=True)


if __name__ == "__main__":
    main()
