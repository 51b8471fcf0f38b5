FROM python:3.13-slim AS build

ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /src

# mypyc needs a C compiler; the second stage has none.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev

COPY requirements/ requirements/
# The locked pip comes first and installs the rest. The relay's environment has no pip: nothing is
# installed into it later. A package as source would be built with packages that no lock names.
RUN pip install --require-hashes -r requirements/pip.txt \
 && pip install --require-hashes -r requirements/build.txt \
 && pip install --require-hashes --only-binary=:all: -r requirements/compile.txt \
 && python -m venv --without-pip /opt/relay \
 && pip --python /opt/relay install --require-hashes --only-binary=:all: -r requirements/image.txt

COPY pyproject.toml setup.py README.md LICENSE ./
COPY relay/ relay/
RUN RELAY_COMPILE=1 pip wheel --no-deps --no-build-isolation --wheel-dir dist . \
 && pip --python /opt/relay install --no-deps --no-index dist/*.whl


FROM python:3.13-slim

COPY --from=build /opt/relay /opt/relay
# A volume that is mounted here gets this owner, so the relay can write to it.
RUN install --directory --owner=10001 --group=10001 /data

# Python tools are imported from the folder tools/ beside the configuration, which is mounted.
ENV PATH=/opt/relay/bin:$PATH PYTHONDONTWRITEBYTECODE=1 PYTHONPATH=/etc/relay/tools
# A number shows an orchestrator that the user is not root. It is above 9999, so that no user of the
# host has it.
USER 10001:10001
EXPOSE 8080
STOPSIGNAL SIGTERM

# This checks that the relay is alive, not that it is ready: a draining relay must not be restarted.
# With server.tls_cert, the relay closes an HTTP connection without an answer, and its certificate is
# not for this name.
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s CMD ["python", "-c", "\
import ssl\n\
from http.client import HTTPConnection, HTTPSConnection\n\
def healthy(relay):\n\
    relay.request('GET', '/healthz')\n\
    return relay.getresponse().status == 200\n\
address, seconds, unverified = ('127.0.0.1', 8080), 2, ssl._create_unverified_context()\n\
try:\n\
    fine = healthy(HTTPConnection(*address, timeout=seconds))\n\
except ConnectionError:\n\
    fine = healthy(HTTPSConnection(*address, timeout=seconds, context=unverified))\n\
raise SystemExit(not fine)"]

ENTRYPOINT ["relay"]
CMD ["serve", "--config", "/etc/relay/compose.yaml"]
