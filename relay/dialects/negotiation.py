"""The dialect of a client: its handshake selects it for the whole session."""

from collections.abc import Collection, Iterable
from typing import Final

from relay.dialects.beta.peers import BetaClient
from relay.dialects.translated import GA, Dialect

BETA_HEADER: Final = "OpenAI-Beta"
BETA_VERSION: Final = "realtime=v1"
BETA_SUBPROTOCOL: Final = "openai-beta.realtime-v1"


def client_dialect(
    subprotocols: Collection[str], beta_headers: Iterable[str], *, announces: bool
) -> Dialect:
    """Return the beta dialect if the handshake asks for it, else GA.

    Args:
        subprotocols: the subprotocols that the client offers.
        beta_headers: the values of its ``OpenAI-Beta`` headers.
        announces: whether the client receives the relay's own events.
    """
    versions = (version.strip() for version in ",".join(beta_headers).split(","))
    if BETA_SUBPROTOCOL in subprotocols or BETA_VERSION in versions:
        return BetaClient(announces=announces)
    return GA
