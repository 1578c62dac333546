#!/bin/bash
# Builds an image of deploy/Dockerfile where there is no container engine's daemon and no image to start from: the base
# is made of Debian's packages by mmdebstrap, the image by buildah without namespaces of its own.
#   deploy/build.sh [TARGET [TAG [BUILDAH ARGUMENT...]]]      serving (the default), cuda or training;
#   arguments are --build-arg STYLE=1, and --build-arg GPU= for training without CUDA
# Run as root on Debian 12 or newer: apt-get install --no-install-recommends mmdebstrap buildah podman runc
set -euo pipefail
cd "$(dirname "$0")/.."
target=${1:-serving}
tag=${2:-bookserve:$target}
base=localhost/bookserve-base:bookworm
missing=$(for tool in mmdebstrap buildah; do command -v "$tool" > /dev/null || echo "$tool"; done)
[ -z "$missing" ] || { echo "build.sh needs $missing: apt-get install --no-install-recommends $missing" >&2; exit 1; }
[ "$(id -u)" = 0 ] || { echo "build.sh must run as root: mmdebstrap and buildah make files of several owners" >&2; exit 1; }

if ! buildah inspect --type image "$base" > /dev/null 2>&1; then
  work=$(mktemp -d)
  trap 'rm -rf "$work"' EXIT
  # Debian's essential packages, Python with what makes an environment, and what its compiled packages need.
  # With usr-is-merged there is no need of usrmerge, which brings Perl.
  # mmdebstrap takes the machine's own sources of packages.
  mmdebstrap --quiet --variant=essential --include=python3,python3-venv,ca-certificates,libstdc++6,usr-is-merged \
    --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr \
    --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
    --customize-hook='rm -rf "$1"/var/cache/* "$1"/var/lib/apt/lists/* "$1"/usr/share/i18n "$1"/usr/lib/*/gconv' \
    bookworm "$work/base.tar"
  container=$(buildah from scratch)
  buildah add --quiet "$container" "$work/base.tar" / > /dev/null
  buildah config --env PATH=/usr/local/bin:/usr/bin:/bin --label org.opencontainers.image.title=bookserve-base "$container"
  buildah commit --quiet --rm "$container" "$base" > /dev/null
fi

# A network that inspects TLS has an authority of its own among the machine's certificates: pip must know it, too.
certificates=/etc/ssl/certs/ca-certificates.crt
version=$(sed -n 's/^version = "\(.*\)"/\1/p' pyproject.toml)
revision=$(git rev-parse --short HEAD 2> /dev/null || echo unknown)
# OCI's own image format has no HEALTHCHECK: --format docker keeps it.
buildah build --isolation=chroot --format docker --file deploy/Dockerfile --target "$target" --tag "$tag" \
  --build-arg BASE="$base" --build-arg VERSION="$version" --build-arg REVISION="$revision" \
  --volume "$certificates:$certificates:ro" "${@:3}" .
echo "$tag: $(buildah inspect --type image --format '{{.Docker.Config.User}}' "$tag") is its user, size \
$(buildah images --format '{{.Size}}' "$tag")"
