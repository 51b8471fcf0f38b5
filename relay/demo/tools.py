"""The tools of the demo's personas: one is called over HTTP, one is a Python function."""

from typing import Literal

from aiohttp import web

HOURS = {"saturday": "from nine in the morning to noon", "sunday": "not at all"}
WEEKDAY = "from eight in the morning to six in the evening"

MEANINGS = {
    "brisk": "quick and full of energy, as in a brisk walk",
    "cosy": "warm and comfortable, as a small room with a fire",
    "thrifty": "careful with money, and good at making it last",
    "wander": "to walk about without any plan",
}


async def opening_hours(request: web.Request) -> web.Response:
    """Answer a call of the tool ``opening_hours``; the body has the arguments."""
    arguments = await request.json()
    day = str(arguments.get("day", "monday"))
    return web.json_response({"day": day, "open": HOURS.get(day, WEEKDAY)})


def meaning_of(word: Literal["brisk", "cosy", "thrifty", "wander"]) -> str:
    """Look up the meaning of an English word in the tutor's dictionary."""
    return f"{word} means {MEANINGS[word]}."
