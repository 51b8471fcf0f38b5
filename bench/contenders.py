"""The contenders of the benchmarks, and their configurations.

All do the same work on one core, and verify the certificate of an upstream with TLS. Transparent
contenders forward messages without reading them. ``relay`` is ``relay serve``; ``bare`` is the same
server without policy, metering, ledger and metrics; ``compiled`` is a relay with compiled modules.
nginx has the configuration of its manual for WebSocket, and once more with larger buffers.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from machine import HOST, Cores, ServerProcess, free_port, serving

HERE = Path(__file__).parent
ROOT = HERE.parent
KEY = "sk-bench"
DEBIAN_PROGRAMS = "/usr/sbin"
"""Not on the path of every user."""

NGINX = """
worker_processes 1;
worker_rlimit_nofile 20000;
daemon off;
pid {folder}/nginx.pid;
error_log stderr error;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  map $http_upgrade $connection_upgrade {{ default upgrade; "" close; }}
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    listen {host}:{port} backlog=4096;
    location / {{
      proxy_pass {origin};
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $connection_upgrade;
      proxy_read_timeout 1h;
      proxy_send_timeout 1h;
      {tls}
    }}
  }}
}}
"""
# With the default of 4 KiB, a delta takes two reads.
NGINX_BUFFERS = "proxy_buffer_size 16k;\n      proxy_buffers 4 16k;\n      {tls}"
NGINX_TLS = """proxy_ssl_verify on;
      proxy_ssl_name localhost;
      proxy_ssl_trusted_certificate {ca_file};"""

HAPROXY = """
global
  nbthread 1
  maxconn 8000
defaults
  mode http
  timeout connect 10s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
frontend clients
  bind {host}:{port} backlog 4096
  default_backend realtime
backend realtime
  server upstream {authority} {tls}
"""
HAPROXY_TLS = "ssl verify required ca-file {ca_file}"

# The whole load is one client here, so its limits are high.
RELAY = """
server: {{host: {host}, port: {port}}}
upstreams:
  openai:
    url: {origin}/v1
    api_key: {key}
    {tls}
personas: {root}/config/personas
default_persona: receptionist
clients: {{bench: {{key: {key}}}}}
limits: {{max_sessions: 100000, audio_rate: 1000000, events_per_second: 1000000}}
usage: {{path: {folder}/usage.db, prices: {root}/config/prices.yaml}}
"""
RELAY_TLS = "ca_file: {ca_file}"

LITELLM = """
model_list:
  - model_name: gpt-realtime-2.1
    litellm_params: {{model: openai/gpt-realtime-2.1, api_base: "{origin}/v1", api_key: {key}}}
general_settings: {{master_key: {key}}}
{tls}
"""
LITELLM_TLS = "litellm_settings: {{ssl_verify: {ca_file}}}"


@dataclass(frozen=True)
class UpstreamAddress:
    """The address of the upstream; without TLS, ``ca_file`` is None."""

    port: int
    ca_file: Path | None

    @property
    def authority(self) -> str:
        """Host and port."""
        return f"{HOST}:{self.port}"

    @property
    def origin(self) -> str:
        """Scheme, host and port."""
        return f"{'https' if self.ca_file else 'http'}://{self.authority}"


@dataclass(frozen=True)
class Contender:
    """A server that relays between clients and the upstream.

    Attributes:
        name: Its name in the table.
        program: The name or the path of the program.
        arguments: Its arguments; ``{config}`` and ``{port}`` are filled in.
        version_arguments: The arguments that print its version.
        config: The text of its configuration, and the part of it that is only for TLS.
        configures: It configures the session, so the client does not.
        has_metrics: It serves the relay's metrics.
        environment: Additional environment variables.
    """

    name: str
    program: str
    arguments: tuple[str, ...]
    version_arguments: tuple[str, ...]
    config: tuple[str, str]
    configures: bool = False
    has_metrics: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> str | None:
        """The installed version; None if it is not installed."""
        program = self._path()
        if program is None:
            return None
        command = [program, *self.version_arguments]
        environment = os.environ | self.environment
        printed = subprocess.run(
            command, capture_output=True, text=True, check=True, env=environment
        )
        found = re.search(r"\d+\.\d+\.\d+", printed.stdout + printed.stderr)
        return found and found[0]

    @contextmanager
    def running(self, folder: Path, upstream: UpstreamAddress) -> Iterator[ServerProcess]:
        """Run it in front of an upstream; it writes to the folder."""
        port = free_port()
        config = folder / f"{self.name}.conf"
        config.write_text(self._configuration(folder, port, upstream))
        arguments = [part.format(config=config, port=port) for part in self.arguments]
        command = [str(self._path()), *arguments]
        log = folder / f"{self.name}.log"
        core = Cores.available().relay
        with serving(command, port, log, core, os.environ | self.environment) as server:
            yield server

    def _path(self) -> str | None:
        return shutil.which(self.program) or shutil.which(self.program, path=DEBIAN_PROGRAMS)

    def _configuration(self, folder: Path, port: int, upstream: UpstreamAddress) -> str:
        text, tls = self.config
        return text.format(
            folder=folder,
            root=ROOT,
            host=HOST,
            port=port,
            key=KEY,
            origin=upstream.origin,
            authority=upstream.authority,
            tls=tls.format(ca_file=upstream.ca_file) if upstream.ca_file else "",
        )


CONTENDERS = (
    Contender(
        "nginx",
        program="nginx",
        arguments=("-c", "{config}"),
        version_arguments=("-v",),
        config=(NGINX, NGINX_TLS),
    ),
    Contender(
        "nginx-16k",
        program="nginx",
        arguments=("-c", "{config}"),
        version_arguments=("-v",),
        config=(NGINX.replace("{tls}", NGINX_BUFFERS), NGINX_TLS),
    ),
    Contender(
        "haproxy",
        program="haproxy",
        arguments=("-db", "-f", "{config}"),
        version_arguments=("-v",),
        config=(HAPROXY, HAPROXY_TLS),
    ),
    Contender(
        "bare",
        program=sys.executable,
        arguments=(str(HERE / "bare.py"), "{config}"),
        version_arguments=("-m", "relay", "--version"),
        config=(RELAY, RELAY_TLS),
        configures=True,
    ),
    Contender(
        "relay",
        program=sys.executable,
        arguments=("-m", "relay", "serve", "--config", "{config}"),
        version_arguments=("-m", "relay", "--version"),
        config=(RELAY, RELAY_TLS),
        configures=True,
        has_metrics=True,
    ),
    Contender(
        "compiled",
        program=str(ROOT / ".venv/compiled/bin/relay"),
        arguments=("serve", "--config", "{config}"),
        version_arguments=("--version",),
        config=(RELAY, RELAY_TLS),
        configures=True,
        has_metrics=True,
    ),
    Contender(
        "LiteLLM",
        program=str(ROOT / ".venv/litellm/bin/litellm"),
        arguments=("--config", "{config}", "--host", HOST, "--port", "{port}"),
        version_arguments=("--version",),
        config=(LITELLM, LITELLM_TLS),
        # Otherwise it downloads its list of prices before it listens.
        environment={"LITELLM_LOCAL_MODEL_COST_MAP": "True"},
    ),
)
