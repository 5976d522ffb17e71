#!/usr/bin/env bash
# Trains on GPUs of a Slurm cluster, one process a GPU. From the repository's root, in whose .venv
# requirements-cuda.txt is installed, on a disk that all nodes share:
#
#   WORKDIR=… CHECKPOINT=… MANIFEST=… sbatch --nodes=2 experiments/launch/slurm_gpus.sh \
#     --config.KEY=VALUE …
#
# Before its time is over the job saves, ends and queues again; the next start resumes the run.
#SBATCH --job-name=mer-jax
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=TERM@600
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

: "${WORKDIR:?the folder of the run, on a disk that all nodes share}"
: "${CHECKPOINT:?a Hugging Face folder on such a disk}"
: "${MANIFEST:?a manifest of clips on such a disk}"
CONFIG=${CONFIG:-configs/mer_r1.py:qwen2_5_omni_7b}

# srun names the processes to JAX. Each must see all GPUs of its node (no --gpus-per-task): JAX
# takes the one with the number of the task on the node.
status=0
srun .venv/bin/python -m mer_jax.main --distributed --config="$CONFIG" --workdir="$WORKDIR" \
  --config.model.checkpoint="$CHECKPOINT" --config.data.manifest="$MANIFEST" "$@" || status=$?
if [ "$status" -eq 143 ]; then # told to stop, and saved
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
