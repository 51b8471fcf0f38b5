"""The services of docker-compose fit together: paths, ports, times, and names of metrics."""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from certificates import issue
from paths import ROOT
from ruamel.yaml import YAML

from relay.config import loading
from relay.core.errors import codes
from relay.telemetry.metrics import METRICS


def load(path: str) -> Any:
    return YAML(typ="safe", pure=True).load(ROOT / path)


DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
COMPOSE = load("docker-compose.yml")
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
RELAY = SERVICES["relay"]
# The file loads with the variables that compose passes, and no others.
CONFIG = loading.load(ROOT / "config/compose.yaml", dict.fromkeys(RELAY["environment"], "key"))
PROMETHEUS = load("config/prometheus/prometheus.yml")
ALERTS = load("config/prometheus/alerts.yml")
DATASOURCE = load("config/grafana/datasources/prometheus.yml")["datasources"][0]
DASHBOARD = json.loads((ROOT / "config/grafana/dashboards/relay.json").read_text())

PANELS: list[dict[str, Any]] = DASHBOARD["panels"]
QUERIES: dict[str, list[str]] = {
    **{panel["title"]: [target["expr"] for target in panel["targets"]] for panel in PANELS},
    **{rule["alert"]: [rule["expr"]] for group in ALERTS["groups"] for rule in group["rules"]},
}


def instruction(name: str) -> str:
    """Return the value of the last instruction of that name in the Dockerfile."""
    return str(re.findall(rf"^{name} (.*)$", DOCKERFILE, re.MULTILINE)[-1]).strip()


def mounts() -> Iterator[tuple[str, list[str]]]:
    """Yield the service and the ``source, target[, mode]`` of each mount."""
    for name, service in SERVICES.items():
        for volume in service["volumes"]:
            yield name, volume.split(":")


def in_repository(service: str, path: str) -> Path:
    """Return the file of this repository that ``service`` sees as ``path``."""
    for name, (source, target, *_) in mounts():
        if name == service and PurePosixPath(path).is_relative_to(target):
            return ROOT / source / PurePosixPath(path).relative_to(target)
    raise AssertionError(f"{service} has nothing mounted at {path}")


def container_port(service: str) -> int:
    (port,) = SERVICES[service]["ports"]
    return int(port.split(":")[-1])


def test_every_mount_exists_and_only_volumes_can_be_written_to() -> None:
    for _, (source, _, *mode) in mounts():
        if source.startswith("."):
            assert (ROOT / source).exists()
            assert source.startswith("./config")
            assert mode == ["ro"]
        else:
            assert source in COMPOSE["volumes"]


def test_the_image_starts_the_relay_on_a_file_that_is_mounted() -> None:
    command = json.loads(instruction("ENTRYPOINT")) + json.loads(instruction("CMD"))

    assert command[:-1] == ["relay", "serve", "--config"]
    assert in_repository("relay", command[-1]) == ROOT / "config/compose.yaml"


def test_tools_in_python_are_imported_from_beside_the_configuration() -> None:
    (folder,) = re.findall(r"PYTHONPATH=(\S+)", instruction("ENV"))

    assert in_repository("relay", folder) == ROOT / "config/tools"


def test_all_services_agree_on_the_ports() -> None:
    port = CONFIG.server.port

    assert CONFIG.server.host == "0.0.0.0"  # noqa: S104  # inside the container
    assert int(instruction("EXPOSE")) == container_port("relay") == port
    assert f"'127.0.0.1', {port}" in instruction("HEALTHCHECK")
    assert PROMETHEUS["scrape_configs"][0]["static_configs"] == [{"targets": [f"relay:{port}"]}]
    assert DATASOURCE["url"] == f"http://prometheus:{container_port('prometheus')}"


def test_only_the_relay_is_published_beyond_this_machine() -> None:
    published = {name: service["ports"][0].split(":") for name, service in SERVICES.items()}

    assert [name for name, port in published.items() if port[0] != "127.0.0.1"] == ["relay"]


def test_draining_ends_before_docker_kills_the_relay() -> None:
    grace_seconds = int(RELAY["stop_grace_period"].removesuffix("s"))

    assert grace_seconds > CONFIG.limits.drain_seconds


def test_compose_refuses_to_start_without_a_key() -> None:
    for name, value in RELAY["environment"].items():
        assert value.startswith(f"${{{name}:?")


def test_the_relay_has_no_privileges_and_writes_to_its_volume_only() -> None:
    user, group = instruction("USER").split(":")

    assert int(user) >= 10_000
    assert int(group) >= 10_000
    assert RELAY["read_only"] is True
    assert RELAY["cap_drop"] == ["ALL"]
    assert RELAY["security_opt"] == ["no-new-privileges:true"]
    assert f"--owner={user} --group={group} /data" in DOCKERFILE
    assert "relay-data:/data" in RELAY["volumes"]


def test_every_image_is_pinned_to_a_version() -> None:
    images = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    images += [service["image"] for service in SERVICES.values() if "build" not in service]

    for image in images:
        assert re.search(r":v?\d+\.\d+", image)


def test_the_image_is_installed_from_the_hashed_locks() -> None:
    installs = re.findall(r"pip (?:--python \S+ )?install (.*)", DOCKERFILE.replace("&&", "\n"))

    assert installs
    for options in installs:
        assert "--require-hashes" in options or "--no-deps --no-index" in options


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    ("status", "exit_status"), [(HTTPStatus.OK, 0), (HTTPStatus.SERVICE_UNAVAILABLE, 1)]
)
def test_the_healthcheck_passes_only_for_a_healthy_relay(
    tmp_path: Path, status: HTTPStatus, exit_status: int, scheme: str
) -> None:
    class Health(BaseHTTPRequestHandler):
        """A relay that serves only ``/healthz``."""

        def do_GET(self) -> None:
            self.send_response(status if self.path == "/healthz" else HTTPStatus.NOT_FOUND)
            self.end_headers()

    _, _, command = instruction("HEALTHCHECK").partition("CMD ")
    _, *arguments = json.loads(command)

    with HTTPServer(("127.0.0.1", 0), Health) as server:
        if scheme == "https":
            context = issue(tmp_path, "voice.example").serving
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        arguments[-1] = arguments[-1].replace("8080", str(server.server_port))
        run = subprocess.run([sys.executable, *arguments], check=False, timeout=10)
        server.shutdown()
        thread.join()

    assert run.returncode == exit_status


def test_prometheus_finds_its_rules_and_grafana_its_dashboard() -> None:
    provider = load("config/grafana/dashboards/relay.yml")["providers"][0]
    dashboards = in_repository("grafana", provider["options"]["path"])

    assert PROMETHEUS["rule_files"] == ["alerts.yml"]
    assert in_repository("prometheus", "/etc/prometheus/prometheus.yml").is_file()
    assert in_repository("prometheus", "/etc/prometheus/alerts.yml").is_file()
    assert [file.name for file in dashboards.glob("*.json")] == ["relay.json"]
    assert in_repository("grafana", "/etc/grafana/provisioning/datasources").is_dir()


def test_every_panel_queries_the_provisioned_datasource() -> None:
    queried = {(panel["datasource"]["type"], panel["datasource"]["uid"]) for panel in PANELS}

    assert queried == {(DATASOURCE["type"], DATASOURCE["uid"])}


def series() -> Iterator[tuple[str, set[str]]]:
    """Yield the name and the labels of every time series that the relay exposes."""
    for name, metric in METRICS.items():
        labels = {*metric.labels, "job"}
        if metric.kind == "histogram":
            yield from ((f"{name}_bucket", {*labels, "le"}), (f"{name}_sum", labels))
            yield f"{name}_count", labels
        else:
            yield name, labels


def selected_labels(query: str) -> set[str]:
    """Return the labels that ``query`` groups or selects by."""
    groups = re.findall(r"\bby \(([^)]*)\)", query)
    matchers = re.findall(r"(\w+)(?:=~|!~|!=|=)\"", query)
    return {*matchers, *re.findall(r"\w+", " ".join(groups))}


@pytest.mark.parametrize("title", QUERIES)
def test_every_query_names_metrics_and_labels_that_the_relay_has(title: str) -> None:
    """Prometheus accepts a query with a misspelt name, and the panel stays empty."""
    exposed = dict(series()) | {"up": {"job"}}
    for query in QUERIES[title]:
        names = set(re.findall(r"\b(?:relay_\w+|up)\b", re.sub(r'"[^"]*"', "", query)))

        assert names
        assert names <= exposed.keys()
        assert selected_labels(query) <= set().union(*(exposed[name] for name in names))


def test_every_error_code_in_an_alert_exists() -> None:
    for rule in (rule for group in ALERTS["groups"] for rule in group["rules"]):
        for pattern in re.findall(r'(?:code|outcome)=~?"([^"]*)"', rule["expr"]):
            for alternative in pattern.split("|"):
                assert any(re.fullmatch(alternative, code) for code in codes()), alternative
