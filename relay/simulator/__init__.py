"""The local upstream: a server that speaks the Realtime API on this machine, without a key.

It keeps the whole GA protocol over real WebSockets, so that clients, relays and their tests have
something to talk to. It is no model: it answers by rules, and says so.

``create_app`` is the door to it; run what it returns as any aiohttp application.
"""

from relay.simulator.mind import Reply
from relay.simulator.observation import Connected, Disconnected, Observation, Received, Sent
from relay.simulator.script import InvalidScript, Script
from relay.simulator.senses import Senses
from relay.simulator.server import create_app

__all__ = [
    "Connected",
    "Disconnected",
    "InvalidScript",
    "Observation",
    "Received",
    "Reply",
    "Script",
    "Senses",
    "Sent",
    "create_app",
]
