#!/bin/bash
# A sweep on whole nodes of Slurm: sbatch docker/slurm_tune.sh [SWEEP] [key=value ...]
# Settings, from the environment: VENV, where rllib-reborn is installed on all nodes; OUT, the sweep's folder on a file system that
# all nodes mount. Submitted again with the same OUT, the sweep goes on, and so it does when Slurm requeues it.
#SBATCH --job-name=rllib-reborn
#SBATCH --nodes=4
#SBATCH --exclusive
#SBATCH --ntasks-per-node=1
#SBATCH --time=24:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
set -euo pipefail

: "${OUT:?is the folder of the sweep, on a file system that all nodes mount}"
: "${VENV:=$HOME/.venv}"
sweep=${1:-alpha_beta_T_predator_prey}
[ $# -eq 0 ] || shift

export PATH="$VENV/bin:$PATH" OMP_NUM_THREADS=1 RAY_USAGE_STATS_ENABLED=0
# One token for all nodes, in a file that only you can read; Slurm's nodes share your home, or give RAY_AUTH_TOKEN_PATH.
export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="${RAY_AUTH_TOKEN_PATH:-$HOME/.ray/auth_token}"
[ -s "$RAY_AUTH_TOKEN_PATH" ] || {
    echo "$0: $RAY_AUTH_TOKEN_PATH holds no token; make one: ray get-auth-token --generate" >&2
    exit 2
}
export RAY_SYMMETRIC_RUN_CLUSTER_WAIT_TIMEOUT=300 # seconds for all nodes to come; 30 otherwise

head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# symmetric-run sets no RAY_ADDRESS: without --address auto the sweep would start a Ray of its own, on one node.
# SIGTERM at the end of the time ends Ray's nodes too, so checkpoints in between are what bounds the loss.
srun ray symmetric-run --address "$head:6379" --min-nodes "$SLURM_NNODES" --num-cpus "$SLURM_CPUS_ON_NODE" -- \
    rllib-reborn tune "$sweep" set.checkpoint.interval_s=600 "$@" --out "$OUT" --resume --address auto
