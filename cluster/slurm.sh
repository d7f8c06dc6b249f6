#!/usr/bin/env bash
# A search as one Slurm job: Ray on all its nodes, the command on the first.
#
#     sbatch --nodes 4 --gpus-per-node 8 cluster/slurm.sh stage1 --flops 2.5G --data /nfs/retinaface
#
# All arguments go to scrfd-nas. Submit it from a folder that all nodes see: the search lies in
# runs/ below it. Near its time limit the job is stopped, puts itself back into the queue and
# continues; a node that fails costs the epochs that ran on it.
#SBATCH --job-name=scrfd-nas
#SBATCH --time=24:00:00
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=64
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:TERM@300
set -euo pipefail

if [ $# -eq 0 ]; then
  echo "usage: sbatch [--nodes N --gpus-per-node G] $0 stage1 --flops 2.5G --data DIR" >&2
  exit 2
fi
# source /opt/scrfd-nas/bin/activate     # or: module load ..., conda activate ...

export RAY_USAGE_STATS_ENABLED=0
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)  # not head: with pipefail a quick one ends the script
port=$((20000 + SLURM_JOB_ID % 20000))  # jobs that share a node must not meet

status=0
requeue() {  # sent 5 minutes before the limit: let the driver stop, then queue again
  kill -TERM "$job" 2>/dev/null || true
  wait "$job" || true
  scontrol requeue "$SLURM_JOB_ID"
  exit 0
}
trap requeue TERM

# Each node starts Ray with its share of the job; the first also runs the command (Ray >= 2.49).
srun --kill-on-bad-exit=0 ray symmetric-run --address "$first:$port" \
  --min-nodes "$SLURM_JOB_NUM_NODES" --num-cpus "$SLURM_CPUS_PER_TASK" \
  --num-gpus "${SLURM_GPUS_ON_NODE:-0}" -- scrfd-nas "$@" --ray-address "$first:$port" &
job=$!
wait "$job" || status=$?
exit "$status"
