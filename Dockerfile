# The bridge alone in an empty file system: a static program, the shipped mappings, the public certificate authorities.
#   docker build -t passbridge .
# scripts/image-root lays that file system out, here and in scripts/test-static, which runs the program inside it.
FROM rust:1.95.0-bookworm AS build
WORKDIR /src
COPY . .
# Without cache mounts, which the classic builder of Debian 12's engine does not know.
RUN scripts/build-static && scripts/image-root target/static/passbridge /image && mkdir /data

FROM scratch
COPY --from=build /image /
# A new volume takes this directory's owner.
COPY --from=build --chown=65532:65532 /data /var/lib/passbridge
USER 65532:65532
# passbridge.toml is mounted here; relative paths in it are relative to it.
WORKDIR /etc/passbridge
VOLUME /var/lib/passbridge
EXPOSE 8080 8081 8082 8083 9090
# Asks the program's own ops listener for /readyz: 0 or 1; what is wrong in a changed file does not matter. 2: `listen.ops` is not
# known; PASSBRIDGE__LISTEN__OPS says it whatever becomes of the file.
HEALTHCHECK --interval=10s --timeout=3s --start-period=10s --retries=3 CMD ["/usr/local/bin/passbridge", "health"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/passbridge"]
CMD ["serve"]
