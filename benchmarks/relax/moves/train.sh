#!/bin/sh
# Train the policies of the benchmark, one after another on one core.
set -e
cd "$(dirname "$0")"
export OMP_NUM_THREADS=1
nucleate train-moves committee.safetensors Si8 --out policies/evolution.moves --generations 40
nucleate train-moves committee.safetensors Si8 --out policies/unrolling.moves --generations 60 --method unrolling
nucleate train-moves committee.safetensors Si8 --out policies/memoryless.moves --generations 40 --settings none.toml
nucleate train-moves committee.safetensors Si8 --out policies/momentum.moves --generations 40 --settings momentum.toml
nucleate train-moves committee.safetensors Si8 --out policies/evolution-1.moves --generations 40 --seed 1
