"""The local upstream: a server that speaks the Realtime API on this machine, without a key.

It implements the GA protocol over real WebSockets, for clients, relays and their tests. It is not
a language model: it answers by fixed rules, and says so in its first message.

``create_app`` returns the server as an aiohttp application.
"""

from relay.simulator.engines import SpeechEngines
from relay.simulator.observation import Connected, Disconnected, Observation, Received, Sent
from relay.simulator.responder import ScriptedReply
from relay.simulator.script import InvalidScript, Script
from relay.simulator.server import create_app

__all__ = [
    "Connected",
    "Disconnected",
    "InvalidScript",
    "Observation",
    "Received",
    "Script",
    "ScriptedReply",
    "Sent",
    "SpeechEngines",
    "create_app",
]
