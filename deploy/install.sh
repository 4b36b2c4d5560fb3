#!/usr/bin/env bash
# Install what requirements.lock pins into a virtual environment: install.sh cpu|cuda VENV UV
# cuda: each file by its hash. cpu: torch without CUDA by its version, from where uv knows that its
# makers keep it: other files than the lock was made of; all else by its hash. Saves some 5 GB.
set -euo pipefail
torch=$1 venv=$2 uv=$3
case "$torch" in
cuda)
  "$venv/bin/pip" install --no-deps --require-hashes -r requirements.lock
  ;;
cpu)
  rest=$(mktemp)
  awk '/^[a-z0-9]/ { skip = /^(torch|torchvision|triton|nvidia-|cuda-)/ } !skip' requirements.lock >"$rest"
  "$venv/bin/pip" install --no-deps --require-hashes -r "$rest"
  mapfile -t wanted < <(grep -oE '^(torch|torchvision)==[0-9.]+' requirements.lock)
  "$uv" pip install --python "$venv/bin/python" --no-deps --torch-backend cpu "${wanted[@]}"
  ;;
*)
  echo "TORCH is cpu or cuda, not $torch." >&2
  exit 2
  ;;
esac
