# syntax=docker/dockerfile:1
# The sidecar's image: built in one stage, run as nobody in another that holds the binary and two packages.
# Both bases are build arguments, so that a mirror or a hardened base is one --build-arg away.
ARG RUST_IMAGE=rust:1-bookworm
ARG RUNTIME_IMAGE=debian:bookworm-slim

FROM ${RUST_IMAGE} AS build
# librdkafka is built from source and links the system's OpenSSL.
RUN apt-get update \
 && apt-get install -y --no-install-recommends g++ libssl-dev make perl pkg-config \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY . .
# Registry and target live in cache mounts: a change of our code does not build the dependencies again.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/build/target \
    cargo build --locked --release --bin kafka-once \
 && cp target/release/kafka-once /kafka-once

FROM ${RUNTIME_IMAGE}
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates libssl3 \
 && rm -rf /var/lib/apt/lists/*
COPY --from=build /kafka-once /usr/local/bin/kafka-once
COPY LICENSE /usr/share/doc/kafka-once/LICENSE
# A number, because Kubernetes cannot check runAsNonRoot against a name.
USER 65532:65532
EXPOSE 9600
ENTRYPOINT ["/usr/local/bin/kafka-once"]
