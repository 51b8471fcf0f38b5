"""Fails when a message costs more instructions than recorded: ``make bench-guard``.

``python bench/guard.py`` counts the instructions of ``message_path.py``. Two builds of one version
of Python differ by 6 %. So a cost is recorded as a multiple of a reference, work that only the
interpreter does, and for each version of Python. ``--write`` records the costs of this version.
"""

import argparse
import json
import platform
import sys
from collections.abc import Mapping, Sequence

import callgrind
from contenders import HERE
from message_path import NOTHING, REFERENCE

RECORDED = HERE / "instructions.json"
MESSAGES = 500
TOLERANCE = 1.10

Costs = Mapping[str, float]
"""The cost of a message by kind, in multiples of the reference."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Compare or record the costs; return 1 if a message costs too much."""
    parser = argparse.ArgumentParser(prog="guard", description=__doc__)
    parser.add_argument("--write", action="store_true", help=f"write {RECORDED.name}")
    given = parser.parse_args(arguments)
    if not callgrind.is_installed():
        print(callgrind.MISSING, file=sys.stderr)
        return 1
    instructions = count()
    costs = {
        kind: round(counted / instructions[REFERENCE], 4)
        for kind, counted in instructions.items()
        if kind != REFERENCE
    }
    python = ".".join(platform.python_version_tuple()[:2])
    recorded = json.loads(RECORDED.read_text())
    if given.write:
        RECORDED.write_text(json.dumps(recorded | {python: costs}, indent=2) + "\n")
    elif python not in recorded:
        print(f"nothing is recorded for Python {python}: make bench-guard ARGS=--write")
        return 0
    return compare(costs, json.loads(RECORDED.read_text())[python], instructions)


def count() -> Mapping[str, float]:
    """Return the instructions of one message by kind."""
    program = str(HERE / "message_path.py")
    printed, counts = callgrind.run([sys.executable, program, str(MESSAGES)])
    by_kind = {kind: counts[pid] for kind, pid in json.loads(printed).items()}
    nothing = by_kind.pop(NOTHING)
    return {kind: (counted - nothing) / MESSAGES for kind, counted in by_kind.items()}


def compare(costs: Costs, recorded: Costs, instructions: Mapping[str, float]) -> int:
    """Print each cost beside the recorded one; return 1 if one is too high."""
    print("| a message | instructions | of the recorded cost, % |\n|---|---:|---:|")
    ratios = {kind: cost / recorded[kind] for kind, cost in costs.items()}
    for kind, ratio in ratios.items():
        print(f"| {kind} | {instructions[kind]:,.0f} | {100 * ratio:.1f} |")
    dear = [kind for kind, ratio in ratios.items() if ratio > TOLERANCE]
    if dear:
        percent = round(100 * (TOLERANCE - 1))
        print(f"more than {percent} % above the recorded cost: {', '.join(dear)}", file=sys.stderr)
    return 1 if dear else 0


if __name__ == "__main__":
    sys.exit(main())
