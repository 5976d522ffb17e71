#!/usr/bin/env bash
# Trains on a slice of TPU VMs that a queued resource asks for. Started again with the same NAME and
# WORKDIR, also after a preemption, it resumes the run. From the repository's root, with gcloud
# logged in and its project and zone set:
#
#   WORKDIR=gs://… CHECKPOINT=gs://… MANIFEST=gs://… bash experiments/launch/tpu_vm.sh --config.KEY=VALUE …
#
# Afterwards: gcloud compute tpus queued-resources delete NAME --force
set -euo pipefail

: "${WORKDIR:?the folder of the run, in a bucket or on a disk that all hosts share}"
: "${CHECKPOINT:?a Hugging Face folder that all hosts can read}"
: "${MANIFEST:?a manifest of clips that all hosts can read}"
NAME=${NAME:-mer-jax}
ACCELERATOR=${ACCELERATOR:-v5litepod-16}        # 16 chips of v5e, 4 hosts: plan.py says v5e:4x4
RUNTIME=${RUNTIME:-v2-alpha-tpuv5-lite}         # the software of the VMs, by kind of chip
PRICE=${PRICE---spot}                           # empty: on demand
CONFIG=${CONFIG:-configs/mer_r1.py:qwen2_5_omni_7b}

state() { gcloud compute tpus queued-resources describe "$NAME" --format='value(state.state)'; }

on_all() { gcloud compute tpus tpu-vm ssh "$NAME" --worker=all --command="$1"; }

if ! state 2>/dev/null; then
  gcloud compute tpus queued-resources create "$NAME" --node-id="$NAME" ${PRICE:+"$PRICE"} \
    --accelerator-type="$ACCELERATOR" --runtime-version="$RUNTIME"
fi
until [ "$(state)" = ACTIVE ]; do
  case "$(state)" in
    FAILED | SUSPENDING | SUSPENDED)
      echo "$NAME is $(state): delete the queued resource and start again" >&2
      exit 1
      ;;
  esac
  sleep 30
done

git archive --output=/tmp/mer_jax.tar.gz HEAD
gcloud compute tpus tpu-vm scp /tmp/mer_jax.tar.gz "$NAME":mer_jax.tar.gz --worker=all
on_all 'mkdir -p mer_jax && tar -xzf mer_jax.tar.gz -C mer_jax && cd mer_jax &&
  python3 -m pip install --quiet --user uv && python3 -m uv venv --quiet --clear --python 3.12 .venv &&
  python3 -m uv pip install --quiet -r requirements-tpu.txt -r requirements-gcs.txt'

# The same command on every host: JAX asks the machine for the others.
more=
if (($#)); then printf -v more ' %q' "$@"; fi
on_all "cd mer_jax && .venv/bin/python -m mer_jax.main --distributed --config='$CONFIG' \
  --workdir='$WORKDIR' --config.model.checkpoint='$CHECKPOINT' --config.data.manifest='$MANIFEST'$more"
