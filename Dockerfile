# A small image that runs cellgate as nobody in particular.
#
#   docker build -t cellgate .
#   set -- --name edge -v "$PWD/my-config:/etc/cellgate:ro" -v cellgate-state:/var/lib/cellgate -p 8080:8080 -p 8443:8443
#
# The first start of the volume, when the files have been reviewed; without --bootstrap it ends with 64. Then all others:
#
#   docker run --rm "$@" cellgate serve --config /etc/cellgate --state-dir /var/lib/cellgate --bootstrap
#   docker run --rm "$@" cellgate
#
# Mount a configuration whose listeners are on 0.0.0.0 or [::] and whose boot.yaml says
# `state_dir: /var/lib/cellgate`. There is none in the image: an edge with somebody else's accounts serves nobody.
# docs/container.md says what of this file was tried without a docker engine, and how.

# The toolchain of rust-toolchain.toml. That file itself stays out: it asks for clippy and rustfmt too.
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
# First what changes seldom, so that it is not done again for every edit.
COPY scripts/setup scripts/setup
RUN scripts/setup build
COPY . .
RUN cargo build --locked --release --package cellgate --bin cellgate
# The state folder is prepared here, because the image below need not have a shell for it.
RUN install -d -m 0755 /image/rootfs/usr/local/bin /image/rootfs/etc/cellgate \
    && install -d -m 0700 /image/state/cellgate \
    && install -m 0755 target/release/cellgate /image/rootfs/usr/local/bin/cellgate

# glibc and libgcc, which the binary links, and nothing that cellgate calls: no shell is needed at run time.
FROM debian:bookworm-slim
COPY --from=build /image/rootfs/ /
COPY --from=build --chown=65532:65532 /image/state/ /var/lib/
# By number, so that Kubernetes' runAsNonRoot can see that it is not root. No row in /etc/passwd is needed.
USER 65532:65532
VOLUME /var/lib/cellgate
# Drains: readiness fails, requests in flight finish. Give `docker stop -t` more than drain.grace + drain.deadline.
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s \
    CMD ["cellgate", "healthz", "--socket", "/var/lib/cellgate/admin.sock"]
ENTRYPOINT ["cellgate"]
# Said here as well as in boot.yaml: a broken boot.yaml must not hide the last good configuration.
# A volume that is new has nothing to compare the first configuration with: start once with --bootstrap as well.
CMD ["serve", "--config", "/etc/cellgate", "--state-dir", "/var/lib/cellgate"]
