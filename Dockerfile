FROM python:3.13-slim AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

COPY requirements/ requirements/
# The relay's environment has no pip: nothing is installed into it later.
RUN python -m venv --without-pip /opt/relay \
 && pip --python /opt/relay install --require-hashes -r requirements/run.txt \
 && pip install --require-hashes -r requirements/build.txt

COPY pyproject.toml README.md LICENSE ./
COPY relay/ relay/
RUN pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && pip --python /opt/relay install --no-deps --no-index dist/*.whl


FROM python:3.13-slim

COPY --from=build /opt/relay /opt/relay
# A volume mounted here takes over its owner, and the relay can write to it.
RUN install --directory --owner=10001 --group=10001 /data

ENV PATH=/opt/relay/bin:$PATH PYTHONDONTWRITEBYTECODE=1
# A number, so that an orchestrator sees that it is not root; above 9999, so that no user of the host has it.
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM

# Alive, not ready: a relay that drains is to be left alone until it is done.
HEALTHCHECK --interval=10s --timeout=3s --start-period=20s CMD ["python", "-c", "\
from http.client import HTTPConnection as Connection; \
relay = Connection('127.0.0.1', 8080, timeout=2); \
relay.request('GET', '/healthz'); \
raise SystemExit(relay.getresponse().status != 200)"]

ENTRYPOINT ["relay"]
CMD ["serve", "--config", "/etc/relay/compose.yaml"]
