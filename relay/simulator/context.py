"""Objects that all connections of a server share."""

from concurrent.futures import Executor
from dataclasses import dataclass

from relay.simulator.engines import SpeechEngines
from relay.simulator.observation import Observer
from relay.simulator.responder import Responder


@dataclass(frozen=True, slots=True)
class ServerContext:
    """The settings and the shared objects of a server.

    Attributes:
        responder: Decides what a response contains.
        engines: The speech engines.
        executor: Its threads run the engines, which block.
        pace: The seconds of audio that are sent in a second.
        session_seconds: The maximum duration of a session.
        observer: Called with each observation.
    """

    responder: Responder
    engines: SpeechEngines
    executor: Executor
    pace: float
    session_seconds: float
    observer: Observer
