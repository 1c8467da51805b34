# One image for edges, workers and every other imc command.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv /opt/imc
COPY requirements/compile.txt requirements/
RUN /opt/imc/bin/pip install --no-cache-dir --no-deps --require-hashes -r requirements/compile.txt
COPY pyproject.toml README.md LICENSE ./
COPY lua lua
COPY imc_cli imc_cli
COPY imc_common imc_common
COPY imc_edge imc_edge
COPY imc_worker imc_worker
# What every message goes through is compiled (`make compiled` does the same). The tools have no place in a container.
RUN HATCH_BUILD_HOOKS_ENABLE=1 /opt/imc/bin/python -m hatchling build -t wheel \
 && /opt/imc/bin/pip install --no-cache-dir --no-deps dist/*.whl \
 && /opt/imc/bin/pip uninstall -y -q hatch-mypyc hatchling mypy librt ast-serialize setuptools \
 && /opt/imc/bin/python -m compileall -q /opt/imc/lib \
 && /opt/imc/bin/pip uninstall -y -q pip

FROM python:3.11-slim-bookworm
COPY --from=build /opt/imc /opt/imc
# PYTHONSAFEPATH: modules are imported from the image only, never from the working folder.
ENV PATH=/opt/imc/bin:$PATH PYTHONUNBUFFERED=1 PYTHONSAFEPATH=1
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin imc
USER 10001
WORKDIR /tmp
EXPOSE 5060/udp 5060/tcp 9090/tcp
# /metrics, /livez and /readyz of an edge or worker; its own health check asks there.
ENV IMC_STATUS_LISTEN=0.0.0.0:9090
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 CMD ["python3", "-I", "-m", "imc_common.probe"]
ENTRYPOINT ["imc"]
CMD ["edge"]
