"""GET /readyz: whether the relay takes new sessions, and the reason if it takes none."""

from collections.abc import Callable
from dataclasses import dataclass

from aiohttp import web

from relay.config.models import Config
from relay.core.errors import RelayDraining
from relay.sessions.admission import Admission
from relay.sessions.registry import Phase, Registry

RETRY_AFTER = {"Retry-After": str(RelayDraining.retry_after_seconds)}


@dataclass(frozen=True, slots=True)
class Readiness:
    """The parts of the relay that a new session needs.

    Attributes:
        has_started: returns whether the local upstream of the demo is ready.
    """

    registry: Registry
    admission: Admission
    has_started: Callable[[], bool]

    async def respond(self, config: Config) -> web.Response:
        """Answer with 200, or with 503 and the reason."""
        reason = await self.reason(config)
        if reason is None:
            return web.json_response({"status": "ready"})
        body = {"status": "not_ready", "reason": reason}
        return web.json_response(body, status=503, headers=RETRY_AFTER)

    async def reason(self, config: Config) -> str | None:
        """Return why the relay takes no new session; None if it takes one."""
        if self.registry.phase is not Phase.SERVING:
            return "draining"
        if not self.has_started():
            return "starting"
        return await self.admission.obstacle(config)
