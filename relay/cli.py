"""The command ``relay``: the only place that prints, reads the environment and exits."""

import argparse
import asyncio
import hashlib
import json
import os
import secrets
import sys
from collections.abc import Callable, Coroutine, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from aiohttp import web
from structlog.typing import FilteringBoundLogger as Logger

import relay
from relay import app, serving
from relay.config.loading import InvalidConfig, load, load_usage
from relay.config.models import Config, check_listen
from relay.config.persona import session_to_send, with_variables
from relay.config.toolboxes import check_tools
from relay.core import session
from relay.ledger.check import check_ledger
from relay.ledger.prune import prune_ledger
from relay.ledger.query import parse_grouping, parse_moment, query_usage
from relay.ledger.render import FORMATS
from relay.telemetry import log as logs
from relay.telemetry.log_stream import LogStream
from relay.wire.loop import Loop
from relay.wire.tls import valid_until

DEFAULT_CONFIG = Path("config/relay.yaml")
FINE, FAILED, WRONG = 0, 1, 2
BUILD = "Python" if session.__file__.endswith(".py") else "compiled"
MASK = "***"
SIMULATOR_PORT = 8081

T = TypeVar("T")

EXAMPLES = """examples:
  relay demo                             try the relay with the local upstream, without a key
  relay serve --config config/relay.yaml
  relay check                            print each problem of the configuration, with its line
  relay prompt receptionist              print the session that the upstream receives
  relay usage --by persona,day           print usage and cost per persona and day
  relay key new                          make a key for a client
"""


class WrongUsage(Exception):
    """An argument of the command line is not valid."""


class InconsistentLedger(OSError):
    """The tables of the ledger contradict each other."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit status.

    The status is 0 for success, 1 for a failure while the command runs, and 2 for wrong arguments
    or a wrong configuration.
    """
    given = _parser().parse_args(arguments)
    try:
        given.run(given)
    except InvalidConfig as invalid:
        out = sys.stdout if given.run is _check else sys.stderr
        print(*invalid.problems, sep="\n", file=out)
        return WRONG
    except WrongUsage as error:
        print(f"relay: {error}", file=sys.stderr)
        return WRONG
    except OSError as failure:
        print(f"relay: {failure}", file=sys.stderr)
        return FAILED
    return FINE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="relay",
        description="A relay between thin clients and the OpenAI Realtime API.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"relay {relay.__version__} ({BUILD})"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    serve = commands.add_parser("serve", help="relay sessions to the configured upstreams")
    _add_config(serve)
    _add_address(serve)
    serve.set_defaults(run=_serve)

    demo = commands.add_parser(
        "demo", help="relay sessions to a local upstream, without a key or a network"
    )
    _add_address(demo)
    demo.set_defaults(run=_demo)

    check = commands.add_parser("check", help="print each problem of the configuration")
    _add_config(check)
    check.set_defaults(run=_check)

    simulate = commands.add_parser("simulate", help="run the local upstream alone")
    _add_address(simulate)
    simulate.add_argument("--api-key", metavar="KEY", help="refuse all other keys")
    simulate.add_argument("--script", type=Path, metavar="FILE", help="faults to simulate, as YAML")
    simulate.set_defaults(run=_simulate)

    prompt = commands.add_parser("prompt", help="print the session.update of a persona")
    prompt.add_argument("persona", metavar="PERSONA")
    _add_config(prompt)
    prompt.set_defaults(run=_prompt)

    used = commands.add_parser("usage", help="print the usage in the ledger, or check the ledger")
    _add_config(used)
    used.add_argument("--since", type=_moment, metavar="TIME", help="first time to include, in UTC")
    used.add_argument("--until", type=_moment, metavar="TIME", help="first time to omit, in UTC")
    used.add_argument(
        "--by",
        type=_grouping,
        default=("persona",),
        metavar="A,B",
        help="columns to group by, such as persona,day",
    )
    used.add_argument("--format", choices=tuple(FORMATS), default="table")
    instead = used.add_mutually_exclusive_group()
    instead.add_argument("--check", action="store_true", help="check that the ledger is consistent")
    instead.add_argument(
        "--prune", type=_moment, metavar="TIME", help="delete the sessions that ended before this"
    )
    used.set_defaults(run=_usage)

    key = commands.add_parser("key", help="make a key for a client").add_subparsers(
        required=True, metavar="COMMAND"
    )
    key.add_parser("new", help="print a new key and its hash").set_defaults(run=_new_key)
    return parser


def _argument_type(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Return a type for argparse that prints the message of a ValueError; argparse hides it."""

    def parse_argument(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse_argument


_moment, _grouping = _argument_type(parse_moment), _argument_type(parse_grouping)


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--config", type=Path, default=DEFAULT_CONFIG, metavar="FILE")


def _add_address(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on; 0 selects a free port")


def _serve(given: argparse.Namespace) -> None:
    config = load(given.config, os.environ)
    host, port = _address(given, config)
    reload = partial(load, given.config, os.environ)
    with LogStream(sys.stderr) as stream:
        log = _log(stream, config)
        application = app.create_app(config, log, dropped_lines=partial(getattr, stream, "dropped"))
        _run(serving.serve(application, log, host=host, port=port, load=reload))


def _demo(given: argparse.Namespace) -> None:
    from relay import demo  # noqa: PLC0415  # `relay serve` needs no local upstream

    with demo.reserve() as listener, TemporaryDirectory(prefix="relay-") as data:
        config = demo.configuration(listener, data)
        host, port = _address(given, config)
        with LogStream(sys.stderr) as stream:
            log = _log(stream, config)
            dropped_lines = partial(getattr, stream, "dropped")
            _run(demo.run(config, listener, log, host, port, dropped_lines=dropped_lines))


def _simulate(given: argparse.Namespace) -> None:
    from relay import simulator  # noqa: PLC0415  # as above
    from relay.simulator import fallback, speech  # noqa: PLC0415  # as above

    try:
        text = given.script.read_text() if given.script else "[]"
        script = simulator.Script.load(text)
    except simulator.InvalidScript as invalid:
        raise WrongUsage(f"{given.script}: {invalid}") from None
    engines = speech.load() if speech.is_installed() else fallback.ENGINES
    application = simulator.create_app(api_key=given.api_key, script=script, engines=engines)
    host, port = given.host or "127.0.0.1", SIMULATOR_PORT if given.port is None else given.port
    print(f"relay: the local upstream listens on http://{host}:{port}/v1", file=sys.stderr)
    web.run_app(application, host=host, port=port, print=None, access_log=None)


def _check(given: argparse.Namespace) -> None:
    config = load(given.config, os.environ)
    with LogStream(sys.stderr) as stream:
        _run(check_tools(config, _log(stream, config)))
    cert = config.server.tls_cert
    if cert and (until := valid_until(cert)) <= datetime.now(UTC):
        print(f"{given.config}: server.tls_cert: warning: expired on {until:%Y-%m-%d}")
    print(f"{given.config}: no problems. Personas: {', '.join(sorted(config.personas))}.")


def _prompt(given: argparse.Namespace) -> None:
    config = load(given.config, os.environ)
    persona = config.personas.get(given.persona)
    if persona is None:
        known = ", ".join(sorted(config.personas))
        raise WrongUsage(f"there is no persona {given.persona!r}; there are: {known}")
    session = session_to_send(with_variables(persona, {}).session)
    update = {"type": "session.update", "session": _masked(session)}
    print(json.dumps(update, indent=2, ensure_ascii=False))


def _usage(given: argparse.Namespace) -> None:
    file = load_usage(given.config, os.environ).path
    if given.check:
        _check_ledger(file)
    elif given.prune:
        print(f"{prune_ledger(file, given.prune)} sessions deleted")
    else:
        rows = query_usage(file, since=given.since, until=given.until, by=given.by)
        print(FORMATS[given.format](rows, given.by))


def _check_ledger(file: Path) -> None:
    check = check_ledger(file)
    print(*check.problems, check, sep="\n")
    if check.problems:
        raise InconsistentLedger(f"{len(check.problems)} problems in {file}")


def _new_key(_given: argparse.Namespace) -> None:
    key = f"rk_{secrets.token_urlsafe(32)}"
    print(f"key: {key}")
    print(f"key_sha256: {hashlib.sha256(key.encode()).hexdigest()}")
    print("Give the key to the client: it is not shown again. Write the hash in relay.yaml.")


def _address(given: argparse.Namespace, config: Config) -> tuple[str, int]:
    """Return the host and the port to listen on; the command line overrides the configuration."""
    host = given.host or config.server.host
    if config.anonymous and (problem := check_listen(host)):
        raise WrongUsage(f"--host {host} {problem}")
    return host, config.server.port if given.port is None else given.port


def _log(stream: LogStream, config: Config) -> Logger:
    log = logs.create(stream, config.server.log_format)
    logs.adopt_libraries(log)
    return log


def _run(command: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=Loop) as runner:
        runner.run(command)


def _masked(session: Mapping[str, Any]) -> dict[str, Any]:
    """Return a session without the credentials of its MCP tools."""
    tools = [_masked_tool(tool) for tool in session.get("tools", ())]
    return {**session, "tools": tools} if tools else dict(session)


def _masked_tool(tool: Mapping[str, Any]) -> dict[str, Any]:
    shown = dict(tool)
    if "authorization" in shown:
        shown["authorization"] = MASK
    if "headers" in shown:
        shown["headers"] = dict.fromkeys(shown["headers"] or {}, MASK)
    return shown
