"""The toolboxes of a configuration: one for each persona."""

from collections.abc import Mapping

from structlog.typing import FilteringBoundLogger as Logger

from relay.config.loading import InvalidConfig
from relay.config.models import Config
from relay.tools.outcome import Outcome
from relay.tools.runtime import PersonaTools, ToolRuntime, ToolsUnusable, open_runtime
from relay.tools.toolbox import Toolbox


async def make_toolboxes(runtime: ToolRuntime, config: Config) -> Mapping[str, Toolbox]:
    """Return the toolbox of each persona.

    Raises:
        InvalidConfig: with every tool that cannot be run.
    """
    personas = {
        name: PersonaTools(persona.session, persona.limits.max_tool_seconds)
        for name, persona in config.personas.items()
    }
    key = config.tools.signing_key
    try:
        return await runtime.toolboxes(
            personas,
            signing_key=None if key is None else key.get_secret_value(),
            max_running=config.tools.max_running,
        )
    except ToolsUnusable as unusable:
        raise InvalidConfig(
            [
                config.problem(("personas", persona, *path), reason)
                for persona, path, reason in unusable.problems
            ]
        ) from None


async def check_tools(config: Config, log: Logger) -> None:
    """Import every function, and ask every MCP server for its tools; call no tool.

    Raises:
        InvalidConfig: with every tool that cannot be run.
    """
    async with open_runtime(_ignore, log) as runtime:
        await make_toolboxes(runtime, config)


def _ignore(_tool: str, _outcome: Outcome, _seconds: float) -> None:
    """Do nothing: no tool is called."""
