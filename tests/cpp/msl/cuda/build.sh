#!/usr/bin/env bash
# Builds tests/cpp/metal_kernels_test.cc with the Metal kernels as CUDA, for the GPU of this machine:
# build.sh PROGRAM [ARCHITECTURE]. Without contraction its bits are those of the emulator.
set -euo pipefail
cd "$(dirname "$0")/../../../.."
flags=(-O2 "-arch=${2:-native}" -I. -Itests/cpp/gpu --expt-relaxed-constexpr -diag-suppress 1097 -fmad=false)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for source in metal/*.metal; do
  nvcc -std=c++14 "${flags[@]}" -Itests/cpp/msl/cuda -D__METAL_VERSION__=310 -x cu -c "$source" \
    -o "$folder/$(basename "$source").o" &
done
for source in tests/cpp/metal_kernels_test.cc tests/cpp/msl/cuda/msl.cu metal/dispatch.cc core/plan.cc; do
  nvcc -std=c++17 "${flags[@]}" -x cu -c "$source" -o "$folder/$(basename "$source").o" &
done
for job in $(jobs -p); do wait "$job"; done
nvcc "-arch=${2:-native}" "$folder"/*.o -o "$1"
