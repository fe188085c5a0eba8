# The service with its model, without PyTorch.
#
#   docker build -t fankui .
#   docker run -d --name fankui -p 127.0.0.1:8000:8000 -v fankui:/var/lib/fankui fankui
#
# It listens on all addresses of the container, so every request needs an API key:
#
#   docker exec fankui fankui keys create crm --scope classify --scope tickets:write
#
# Tickets are kept in SQLite in the volume; set FANKUI_DATABASE_URL for PostgreSQL. More in deploy/README.md.

FROM python:3.11-slim-bookworm AS build
WORKDIR /src
COPY pyproject.toml constraints.txt README.md ./
COPY fankui/ fankui/
COPY service/ service/
COPY training/ training/
# The environment has no pip of its own: nothing is installed in it later.
RUN python -m venv --without-pip /opt/fankui \
    && pip --disable-pip-version-check --python /opt/fankui/bin/python install --no-cache-dir -c constraints.txt '.[postgres]'

FROM python:3.11-slim-bookworm
LABEL org.opencontainers.image.title="fankui" \
      org.opencontainers.image.description="Tags Chinese customer feedback by cause and satisfaction" \
      org.opencontainers.image.licenses="MIT"
# ONNX Runtime reports its use to its maker unless it is told not to.
ENV PATH="/opt/fankui/bin:$PATH" \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    FANKUI_HOST=0.0.0.0 \
    FANKUI_PORT=8000 \
    FANKUI_MODELS=/srv/fankui/models \
    FANKUI_DATABASE_URL=sqlite:////var/lib/fankui/fankui.db
COPY --from=build /opt/fankui /opt/fankui
WORKDIR /srv/fankui
COPY data/taxonomy.yaml data/taxonomy.yaml
COPY models/ models/
# Before VOLUME: what comes after it does not reach the volume.
RUN install --directory --owner=10001 --group=10001 --mode=0750 /var/lib/fankui
VOLUME /var/lib/fankui
# A number, so that an orchestrator can see that it is not root.
USER 10001:10001
EXPOSE 8000
# Past any proxy that the environment may name.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "import os, urllib.request as web; web.build_opener(web.ProxyHandler({})).open('http://127.0.0.1:' + os.environ['FANKUI_PORT'] + '/healthz', timeout=4)"]
CMD ["fankui", "serve"]
