# A search on GPAW without installing anything but Docker:
#   docker build -t nucleate .
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD:/work" nucleate search Si8 --no-prototypes --settings /opt/nucleate/examples/demo.toml --out demo
# The image is not built by CI.
FROM debian:bookworm-slim

RUN apt-get update \
 && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    build-essential python3-venv python3-dev libopenblas-dev libxc-dev libfftw3-dev libopenmpi-dev openmpi-bin libscalapack-openmpi-dev \
 && rm -rf /var/lib/apt/lists/*

COPY . /opt/nucleate
RUN useradd --create-home nucleate && chown -R nucleate /opt/nucleate && mkdir /work && chown nucleate /work
USER nucleate

WORKDIR /opt/nucleate
RUN python3 -m venv .venv \
 && .venv/bin/pip install --no-cache-dir "torch==2.13.0" --index-url https://download.pytorch.org/whl/cpu \
 && GPAW_CONFIG=/opt/nucleate/tools/gpaw_siteconfig.py .venv/bin/pip install --no-cache-dir ".[dft,surrogates,fast]"

# The caches of matplotlib and numba, for users that have no home in the image. One thread a process: OpenMP's default is slower.
ENV PATH=/opt/nucleate/.venv/bin:$PATH OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 HOME=/tmp NUMBA_CACHE_DIR=/tmp
WORKDIR /work
ENTRYPOINT ["nucleate"]
CMD ["--help"]
