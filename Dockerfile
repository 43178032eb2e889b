# Answers questions over HTTP with one trained model, on the CPU. The model is mounted, not copied:
#
#   docker build -t albertqa .
#   docker run --rm -p 127.0.0.1:8000:8000 -v "$PWD/runs/quickstart:/model:ro" albertqa
#
# Not built where it was written, as there was no container engine; tests/serve/test_container.py checks what it can.
FROM python:3.11-slim-bookworm

ENV ALBERTQA_CACHE=/tmp/albertqa \
    HF_HUB_OFFLINE=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1

WORKDIR /app
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY src ./src

# The index has PyTorch without CUDA, a tenth of the size.
RUN pip install -c constraints.txt --extra-index-url https://download.pytorch.org/whl/cpu '.[serve]' \
    && useradd --system --uid 10001 --no-create-home albertqa

USER 10001
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/ready', timeout=3)"]
ENTRYPOINT ["albertqa", "serve"]
CMD ["/model", "--host", "0.0.0.0"]
