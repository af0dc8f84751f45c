#!/usr/bin/env bash
# Builds the C++ tests of the CUDA kernels for the GPU of this machine: build.sh PROGRAM [tests/cpp/cuda_systems_test.cc]
set -euo pipefail
cd "$(dirname "$0")/../../.."
flags=(-std=c++17 -O2 -lineinfo -arch=native -I. -Itests/cpp/gpu)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
for value in float double "Complex<float>" "Complex<double>"; do
  nvcc "${flags[@]}" "-DJAXINV_VALUE=$value" -c cuda/kernels.cu -o "$folder/${value//[<>]/_}.o" &
done
nvcc "${flags[@]}" -c cuda/launch.cu -o "$folder/launch.o" &
nvcc "${flags[@]}" -x cu -c "${2:-tests/cpp/cuda_kernels_test.cc}" -o "$folder/test.o" &
nvcc "${flags[@]}" -c core/plan.cc -o "$folder/plan.o" &
for job in $(jobs -p); do wait "$job"; done
nvcc -arch=native "$folder"/*.o -o "$1"
