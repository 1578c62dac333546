#!/usr/bin/env bash
# Other servers, each in an environment of its own: bench/peers/install.sh [mlserver litserve bentoml ray triton]
# The load comes from wrk and h2load: apt-get install wrk nghttp2-client
set -euo pipefail
cd "$(dirname "$0")/../.."
declare -A packages=(
  [mlserver]="mlserver onnxruntime"
  [litserve]="litserve onnxruntime"
  [bentoml]="bentoml onnxruntime"
  [ray]="ray[serve] onnxruntime"
  [triton]="nvidia-pytriton onnxruntime"
)
for name in "${@:-mlserver litserve bentoml ray triton}"; do
  for peer in $name; do
    python3 -m venv ".venv-peers/$peer"
    # shellcheck disable=SC2086 - a list of packages
    ".venv-peers/$peer/bin/pip" install --quiet ${packages[$peer]}
    echo "$peer: .venv-peers/$peer"
  done
done
