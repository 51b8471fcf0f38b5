"""Python functions for tests of tools: the relay imports them by name, like an operator's."""

import asyncio
import sys
import threading
from dataclasses import dataclass
from datetime import date
from enum import Enum
from typing import Annotated, Any

from pydantic import BaseModel, Field

from relay.tools import Context

NOT_A_FUNCTION = 5

released = threading.Event()
"""Set by a test to end the functions that hang in a thread."""


class Day(Enum):
    MONDAY = "monday"
    SUNDAY = "sunday"


class Patient(BaseModel):
    name: str
    age: int = 0


@dataclass
class Slot:
    day: date
    free: bool


async def opening_hours(
    day: Day, context: Context, *, detail: Annotated[bool, Field(description="Breaks too.")] = False
) -> str:
    """The hours at which the clinic is open.

    On holidays it is closed.

    Args:
        day: Of the week.
        context: The session and the user of the call.
        detail: Breaks too.
    """
    return f"{day.name} {detail} {context.call_id} {context.user}"


def slot(day: date) -> Slot:
    """Find a slot."""
    return Slot(day, free=threading.current_thread() is not threading.main_thread())


def admit(patient: Patient, room: int) -> dict[str, Any]:
    return {"patient": patient, "room": room, "young": patient.age < 18}


async def nothing() -> None:
    """Do nothing."""


def text() -> str:
    return "plain"


async def raises(secret: str) -> str:
    raise ValueError(f"PLANTED {secret}")


def leaves(secret: str) -> str:
    sys.exit(secret)


async def gives_up() -> str:
    raise TimeoutError


async def cancels_itself() -> str:
    raise asyncio.CancelledError


async def half_a_pair() -> str:
    return "\ud800"


async def half_a_pair_inside() -> list[str]:
    return ["\ud800"]


async def large(size: int) -> str:
    return "x" * size


async def unprintable() -> object:
    return object()


async def hangs() -> str:
    await asyncio.Event().wait()
    return "never"


def hangs_in_a_thread() -> str:
    released.wait()
    return "late"


async def token(token: str, context: Context) -> str:
    """Return the token, and the ids of the session and the call."""
    await asyncio.sleep(0)
    return f"{token} {context.session_id} {context.call_id}"


class Visit(BaseModel):
    before: "Visit | None" = None


def visit(last: Visit) -> str:
    return str(last)


def takes_anything(*args: str) -> str:
    return str(args)


def unknown_type(where: "Nowhere") -> str:  # type: ignore[name-defined]  # noqa: F821
    return str(where)


def no_schema(lock: threading.Event) -> str:
    return str(lock)


class Desk:
    """Something with a method."""

    @staticmethod
    def ring(times: int) -> str:
        """Ring the bell."""
        return "ding" * times
