"""TLS towards clients: which clients may connect, which files are used, how they are replaced."""

import asyncio
import json
import shutil
import signal
import ssl
import warnings
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import openai
import pytest
from aiohttp import ClientSession
from certificates import LOOPBACK, Pair, issue
from cryptography import x509
from fakes import Call, FakeUpstream, Wire, open_connection
from handshakes import refused
from processes import serving
from relays import RunningRelay, receive, relaying, write_config

from relay import serving as relay_serving
from relay.wire.tls import Tls, valid_until

pytestmark = [pytest.mark.usefixtures("nothing_is_left"), pytest.mark.both_loops]

MINTING = """
clients: {site: {key: key-of-the-site, trusted: true}}
secrets: {signing_keys: 0123456789abcdef0123456789abcdef}
"""


@asynccontextmanager
async def secured(folder: Path, settings: str = "") -> AsyncIterator[RunningRelay]:
    """Run a relay with a certificate."""
    server = f"server: {{{issue(folder).settings}}}\n"
    async with relaying(folder, answers, server + settings) as (relay, _):
        yield relay


async def answers(call: Call) -> None:
    """Answer each response.create."""
    await call.open()
    while True:
        if (await call.receive())["type"] == "response.create":
            response = {"id": "resp_1", "object": "realtime.response", "status": "completed"}
            done = {"type": "response.done", "event_id": "event_3", "response": response}
            await call.send(done)


# Clients


async def test_the_sdk_has_a_turn_over_wss_and_mints_over_https(tmp_path: Path) -> None:
    async with secured(tmp_path, MINTING) as relay:
        assert relay.tls is not None
        async with openai.DefaultAsyncHttpx2Client(verify=relay.tls) as http:
            client = openai.AsyncOpenAI(
                base_url=relay.base_url, api_key="key-of-the-site", http_client=http
            )
            minted = await client.realtime.client_secrets.create()
        client = openai.AsyncOpenAI(base_url=relay.base_url, api_key=minted.value)
        options: Any = {"ssl": relay.tls, "proxy": None}  # the type of the SDK lacks these
        async with client.realtime.connect(
            model="receptionist", websocket_connection_options=options
        ) as connection:
            await connection.response.create()
            types = [(await connection.recv()).type for _ in range(2)]
        await relay.ended()

    assert types == ["session.created", "response.done"]


@pytest.mark.filterwarnings("ignore:connect.. must be used:DeprecationWarning")
async def test_the_sync_sdk_has_a_turn_over_wss(tmp_path: Path) -> None:
    def talk(relay: RunningRelay) -> list[str]:
        client = openai.OpenAI(base_url=relay.base_url, api_key="any")
        options: Any = {"ssl": relay.tls, "proxy": None}  # the type of the SDK lacks these
        with client.realtime.connect(
            model="receptionist", websocket_connection_options=options
        ) as connection:
            connection.response.create()
            return [connection.recv().type for _ in range(2)]

    async with secured(tmp_path) as relay:
        assert await asyncio.to_thread(talk, relay) == ["session.created", "response.done"]
        await relay.ended()


async def test_the_sdk_of_the_beta_interface_needs_only_its_base_url(tmp_path: Path) -> None:
    """This SDK accepts wss only."""
    async with secured(tmp_path) as relay:
        client = openai.AsyncOpenAI(base_url=relay.base_url, api_key="any")
        options: Any = {"ssl": relay.tls, "proxy": None}  # the type of the SDK lacks these
        async with client.beta.realtime.connect(
            model="gpt-4o-realtime-preview", websocket_connection_options=options
        ) as connection:
            await connection.session.update(session={"modalities": ["audio"]})
            await connection.response.create()
            types = [(await connection.recv()).type for _ in range(3)]
        await relay.ended()

    assert types == ["session.created", "session.updated", "response.done"]


async def test_readiness_is_served_over_https_with_http_1_1(
    tmp_path: Path,
) -> None:
    async with secured(tmp_path) as relay:
        assert relay.tls is not None
        async with (
            ClientSession() as http,
            http.get(f"{relay.root}/readyz", ssl=relay.tls) as answer,
        ):
            assert (answer.status, await answer.json()) == (200, {"status": "ready"})
        relay.tls.set_alpn_protocols(["h2", "http/1.1"])
        wire = await Wire.dial(relay.port, tls=relay.tls)
        spoken = wire.writer.get_extra_info("ssl_object")
        assert spoken.selected_alpn_protocol() == "http/1.1"
        assert spoken.version() == "TLSv1.3"
        assert spoken.compression() is None
        await wire.hang_up()


async def test_versions_before_tls_1_2_are_refused(tmp_path: Path) -> None:
    old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
    old.set_ciphers("ALL:@SECLEVEL=0")
    with warnings.catch_warnings(action="ignore"):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    async with secured(tmp_path) as relay:
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await Wire.dial(relay.port, tls=old)


async def test_the_own_origin_is_https(tmp_path: Path) -> None:
    async with secured(tmp_path) as relay:
        async with relay.connect(origin=relay.root) as page:
            assert (await receive(page))["type"] == "session.created"
        status, _, _ = await refused(relay.connect(origin=relay.root.replace("https", "http")))
        assert status == 403
        await relay.ended()


# Clients without TLS


@pytest.mark.parametrize(
    "sent",
    [
        b"GET /v1/realtime HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"\x16\x03\x01\xff\xff",
        b"\x00" * 600,
    ],
)
async def test_a_client_without_tls_is_disconnected_and_not_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, sent: bytes
) -> None:
    async with secured(tmp_path) as relay:
        wire = await Wire.dial(relay.port)
        wire.writer.write(sent)
        wire.writer.write_eof()
        await wire.lost()
        await wire.hang_up()
        async with relay.connect() as client:
            await receive(client)
        await relay.ended()
        logged = relay.logged.getvalue().splitlines()

    assert [json.loads(line)["event"] for line in logged] == ["session.ended"]
    assert not caplog.records


async def test_a_handshake_that_stalls_is_disconnected_in_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(relay_serving, "HEAD_SECONDS", 0.3)
    loop = asyncio.get_running_loop()
    async with secured(tmp_path) as relay:
        for sent in (b"", b"\x16\x03\x01\x02\x00\x01"):
            wire = await Wire.dial(relay.port)
            wire.writer.write(sent)
            began = loop.time()
            await wire.lost()
            assert 0.25 < loop.time() - began < 5
            await wire.hang_up()
        assert relay.logged.getvalue() == ""

    assert not caplog.records


# Replaced files


async def shown(relay: RunningRelay) -> int:
    """Return the serial number of the certificate that a client receives."""
    anybody = ssl.create_default_context()
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    wire = await Wire.dial(relay.port, tls=anybody)
    der = wire.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    await wire.hang_up()
    return x509.load_der_x509_certificate(der).serial_number


def serial(pair: Pair) -> int:
    """Return the serial number of a certificate on disk."""
    return x509.load_pem_x509_certificate(pair.cert.read_bytes()).serial_number


def renew(folder: Path) -> Pair:
    """Make another certificate with the same name."""
    new = folder / "new"
    new.mkdir(exist_ok=True)
    return issue(new)


async def test_the_next_handshake_uses_changed_files(tmp_path: Path) -> None:
    async with secured(tmp_path) as relay, relay.connect() as before:
        pair = renew(tmp_path)
        pair.cert.replace(tmp_path / pair.cert.name)
        half = await shown(relay)
        await shown(relay)  # a problem is logged once
        problems = relay.lines("certificate.refused")
        pair.key.replace(tmp_path / pair.key.name)
        now = serial(Pair(tmp_path / pair.cert.name, pair.key))
        assert half != now
        assert [await shown(relay), await shown(relay)] == [now, now]
        relay.tls = ssl.create_default_context(cafile=tmp_path / pair.cert.name)
        async with relay.connect() as client:
            await receive(client)
        await receive(before)  # an open session continues
        metrics = await relay.metrics()

    (line,) = problems
    assert (line["level"], line["problem"]) == (
        "error",
        "server.tls_key: is not the key of tls_cert",
    )
    assert len(relay.lines("certificate.reloaded")) == 1
    assert metrics['relay_config_reloads_total{outcome="failed"}'] == 1
    assert metrics['relay_config_reloads_total{outcome="completed"}'] == 1


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (lambda pair: pair.cert.unlink(), "tls_cert: cannot be read: No such file or directory"),
        (lambda pair: pair.key.unlink(), "tls_key: cannot be read: No such file or directory"),
        (lambda pair: pair.cert.write_text("x"), "tls_cert: must be certificates in PEM format"),
        (lambda pair: pair.key.write_text(""), "tls_key: must be a private key in PEM format"),
    ],
)
async def test_the_old_certificate_stays_if_the_new_files_cannot_be_used(
    tmp_path: Path, spoil: Callable[[Pair], object], problem: str
) -> None:
    async with secured(tmp_path) as relay:
        pair = Pair(tmp_path / f"{LOOPBACK}.pem", tmp_path / f"{LOOPBACK}.key")
        before = serial(pair)
        for original in (pair.cert, pair.key):
            shutil.copy(original, f"{original}.old")
        spoil(pair)
        assert [await shown(relay), await shown(relay)] == [before, before]
        (line,) = relay.lines("certificate.refused")
        assert line["problem"].startswith(f"server.{problem}")
        for original in (pair.cert, pair.key):
            shutil.move(f"{original}.old", original)
        assert await shown(relay) == before

    assert len(relay.lines("certificate.refused")) == 1
    assert len(relay.lines("certificate.reloaded")) == 1


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", ""])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_new_certificate_is_used_for_each_name_that_a_client_requests(
    tmp_path: Path, name: str, version: ssl.TLSVersion
) -> None:
    old, new = issue(tmp_path), renew(tmp_path)
    tls = Tls(old.cert, old.key, lambda _: None)
    server = await asyncio.start_server(_leave, LOOPBACK, 0, ssl=tls.context)
    for file, renewed in ((old.cert, new.cert), (old.key, new.key)):
        shutil.copy(renewed, file)
    trusting = new.trusting
    trusting.check_hostname, trusting.maximum_version = False, version
    port = server.sockets[0].getsockname()[1]
    reader, writer = await open_connection(
        host=LOOPBACK, port=port, ssl=trusting, server_hostname=name
    )
    assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()
    server.close()
    await server.wait_closed()


async def _leave(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def test_the_relay_as_a_process_serves_https_renews_and_drains(tmp_path: Path) -> None:
    pair = issue(tmp_path)
    async with FakeUpstream(answers).running() as upstream:
        path = write_config(tmp_path, upstream.url, f"server: {{{pair.settings}}}")
        async with serving(path) as relay, ClientSession() as http:
            assert relay.url.startswith("https://127.0.0.1:")
            async with relay.connect(ssl=pair.trusting) as client:
                await receive(client)
                (tmp_path / "new").mkdir()
                new = issue(tmp_path / "new")
                for file, renewed in ((pair.cert, new.cert), (pair.key, new.key)):
                    renewed.replace(file)
                async with http.get(
                    relay.url.replace("/v1", "/readyz"), ssl=pair.trusting
                ) as answer:
                    assert answer.status == 200
                await relay.until("certificate.reloaded")
                plain = await Wire.dial(relay.port)
                plain.writer.write(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")
                await plain.lost()
                await plain.hang_up()
                relay.signal(signal.SIGTERM)
                await relay.until("drain.started")
            assert await relay.ends() == 0

    assert [line["event"] for line in relay.lines] == [
        "relay.started",
        *("price.missing", "certificate.reloaded", "drain.started", "session.ended"),
        "relay.stopped",
    ]


async def test_an_expired_certificate_is_served_and_logged(tmp_path: Path) -> None:
    """Clients that ignore the date can still connect; to refuse would exclude them too."""
    pair = issue(tmp_path, days=-3)
    path = write_config(tmp_path, "http://127.0.0.1:1/v1", f"server: {{{pair.settings}}}")
    async with serving(path) as relay:
        line = await relay.until("certificate.expired")

    assert (line["level"], line["valid_until"]) == ("warning", valid_until(pair.cert).isoformat())


async def test_a_new_certificate_that_has_expired_is_served_and_logged(tmp_path: Path) -> None:
    (tmp_path / "new").mkdir()
    expired = issue(tmp_path / "new", days=-3)
    async with secured(tmp_path) as relay:
        for file in (expired.cert, expired.key):
            file.replace(tmp_path / file.name)
        served = await shown(relay)
        (line,) = relay.lines("certificate.expired")

    until = valid_until(tmp_path / expired.cert.name)
    assert (line["level"], line["valid_until"]) == ("warning", until.isoformat())
    assert served == serial(Pair(tmp_path / expired.cert.name, expired.key))
