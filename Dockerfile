# The API, with the MCP server at /mcp. Data, keys and log are in /data.
#
#   docker build -t millimetric-mcp .
#   docker run -p 127.0.0.1:8787:8787 -v millimetric:/data millimetric-mcp
FROM python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b AS build
WORKDIR /build
COPY requirements/server.lock requirements/server.lock
RUN python -m venv /app \
    && /app/bin/pip install --no-cache-dir --require-hashes --only-binary :all: \
    --requirement requirements/server.lock
COPY pyproject.toml README.md LICENSE ./
COPY millimetric_mcp millimetric_mcp
RUN /app/bin/pip install --no-cache-dir --no-deps --no-build-isolation .

FROM python:3.13-slim@sha256:7c61056e61ac89e852de05f3dc6fa51a6dd2181797bceed46aa725dd7cb2cd3b
RUN useradd --uid 10001 --home-dir /data --create-home millimetric
COPY --from=build /app /app
ENV PATH=/app/bin:$PATH \
    MILLIMETRIC_DATA_DIR=/data/millimetric \
    MILLIMETRIC_KEYS_DIR=/data/keys \
    MILLIMETRIC_API_BIND=0.0.0.0
USER 10001
VOLUME /data
EXPOSE 8787
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8787/health', timeout=4)"]
ENTRYPOINT ["millimetric-mcp"]
CMD ["api"]
