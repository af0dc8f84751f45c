#!/usr/bin/env bash
# Everything there is to do with a GPU at hand, in about ten minutes: build, tests, compute-sanitizer, CUDA graphs,
# benchmark against every peer. Needs nvcc, Python 3.11 or later with jax[cuda], pip, cmake and ninja; PyTorch and
# CuPy are measured where they are installed.
#
#   benchmarks/gpu.sh [FOLDER]      writes jaxinv-bench.json, plots and logs to FOLDER (default: benchmarks/GPU's name)
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
name=$(nvidia-smi --query-gpu=name --format=csv,noheader | head -1 | tr 'A-Z ' 'a-z-')
out=$(realpath -m "${1:-benchmarks/$name}")
mkdir -p "$out"
step() { printf '\n== %s (%d s)\n' "$1" "$SECONDS"; }
failed=()
# A step that fails is named at the end and does not stop the others: a machine may be lent for minutes.
try() {
  step "$1"
  local log="$out/$2" seconds=$3
  shift 3
  if timeout "$seconds" "$@" >"$log" 2>&1; then tail -3 "$log"; else tail -20 "$log"; failed+=("$log"); fi
}

step "build"
$python -m pip install -q scikit-build-core nanobind ninja cmake pytest pytest-xdist chex flatbuffers mpmath rich matplotlib ||
  echo "no package index: using what is installed"
JAXINV_NATIVE=ON JAXINV_CUDA=ON $python -m pip install -q --no-build-isolation --no-deps --force-reinstall .
export JAX_PLATFORMS=cuda,cpu XLA_PYTHON_CLIENT_PREALLOCATE=false PYTHONUNBUFFERED=1
$python -m jaxinv info | tee "$out/info.txt"

# First what is scarce: figures. The limit of each step leaves room for the others.
try "benchmark" bench.log 170 $python -m jaxinv bench --suite inv --sizes 3,4,8,16,32,64,128,256,512 \
  --megabytes 128 --rounds 3 --timeout 15 --output "$out"
mkdir -p "$out/loss" "$out/grad"
try "loss" loss.log 60 $python -m jaxinv bench --suite loss --rounds 3 --timeout 20 --output "$out/loss"
try "derivative" grad.log 60 $python -m jaxinv bench --suite grad --sizes 3,8,16,32 --megabytes 128 --rounds 3 \
  --timeout 15 --output "$out/grad"

export JAXINV_REQUIRE=cuda,cuda-compile JAX_PLATFORMS=cuda
try "CUDA graphs, large batches, C++ tests" gpu.log 120 $python -m pytest -q -n0 tests/test_gpu.py -k "not metal"
try "Metal kernels as CUDA" metal.log 150 $python -m pytest -q -n4 tests/test_gpu.py -k metal
try "tests" tests.log 200 $python -m pytest -q -n4 tests/test_inverse.py tests/test_singular.py \
  tests/test_batch_invariance.py tests/test_determinant.py tests/test_derivatives.py tests/test_transforms.py \
  tests/test_solve.py tests/test_det.py tests/test_structures.py

if tool=$(command -v compute-sanitizer || ls /usr/local/cuda/bin/compute-sanitizer 2>/dev/null); then
  for part in kernels systems; do
    tests/cpp/gpu/build.sh "$out/program" "tests/cpp/cuda_${part}_test.cc"
    for check in memcheck racecheck synccheck; do
      try "compute-sanitizer $check of $part" "$check-$part.log" 60 \
        "$tool" --tool "$check" --error-exitcode 9 "$out/program" 1
    done
    rm "$out/program"
  done
else
  failed+=("compute-sanitizer is not installed")
fi

step "done"
if ((${#failed[@]})); then
  printf 'failed: %s\n' "${failed[@]}"
  exit 1
fi
