# powmix as a command; docs/commands.md says how it is built for a CPU and for a GPU.
ARG BASE=python:3.12-slim

FROM ${BASE} AS wheel
WORKDIR /src
COPY . .
RUN python3 -m pip wheel --no-deps --wheel-dir /wheels .

FROM ${BASE}
ARG EXTRAS=joblib,search
# Some bases ship torch in the system's Python, which this lets pip add to.
ENV PIP_BREAK_SYSTEM_PACKAGES=1 PIP_NO_CACHE_DIR=1 PYTHONUNBUFFERED=1
COPY --from=wheel /wheels /wheels
RUN set -- /wheels/*.whl && python3 -m pip install "$1[${EXTRAS}]"

# Any user may run it (docker run --user): it writes to the mounted folder alone, its cache too.
WORKDIR /work
ENV HOME=/work USER=powmix OMP_NUM_THREADS=1 NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
ENTRYPOINT ["powmix"]
