# docker build -t projlens .                                                       PyTorch with CUDA: docker run --gpus all
# docker build -t projlens --build-arg TORCH=cpu --build-arg EXTRA_INDEX=URL .     without, from PyTorch's own index
# How to run it, sealed: docs/security.md.
ARG BASE=python:3.11.16-slim-bookworm@sha256:a36c24f9cbdf4fd0f52d67f0823eeac19c2028c637cecc392d97f980d4fec56b

FROM ${BASE} AS packages
ARG TORCH=cuda
ARG EXTRA_INDEX=""
WORKDIR /locks
COPY requirements.lock requirements-cpu.lock requirements-cuda.lock requirements-lm.txt ./
# Only what has the hash of a lock, and wheels alone: nothing of a package runs here, nothing is compiled.
RUN python -m venv --without-pip /opt/projlens \
    && pip --python /opt/projlens/bin/python install --no-cache-dir --no-deps --require-hashes --only-binary :all: \
        ${EXTRA_INDEX:+--extra-index-url "$EXTRA_INDEX"} \
        -r requirements.lock -r requirements-lm.txt -r "requirements-$TORCH.lock"

FROM ${BASE}
ENV PATH=/opt/projlens/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    HOME=/tmp \
    PROJLENS_CACHE=/cache \
    PROJLENS_ROOTS=/models \
    STREAMLIT_SERVER_ADDRESS=0.0.0.0 \
    STREAMLIT_SERVER_HEADLESS=true
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin projlens \
    && install -d -o projlens -g projlens /cache \
    && install -d /models
WORKDIR /app
COPY --from=packages /opt/projlens /opt/projlens
COPY . .
RUN python -m compileall -q dashboard projlens_core

# From here on nothing of the image can be written but the cache.
USER 10001:10001
# The language model is converted here, once, and not while the first user waits for an answer.
RUN python -c "from projlens_core.demo_model.checkpoint import checkpoint_folder; checkpoint_folder()"
VOLUME /cache

EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]

# The page accepts localhost only; to reach it under another name: -e STREAMLIT_SERVER_ALLOWED_HOSTS='localhost my.host'
CMD ["streamlit", "run", "dashboard/app.py", "--server.port", "8501"]
