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
#SBATCH --signal=B:USR1@300
set -euo pipefail

if [ $# -eq 0 ]; then
  echo "usage: sbatch [--nodes N --gpus-per-node G] $0 stage1 --flops 2.5G --data DIR" >&2
  exit 2
fi
# source /opt/scrfd-nas/bin/activate     # or: module load ..., conda activate ...

export RAY_USAGE_STATS_ENABLED=0
# Whoever reaches Ray's ports can run code there: a secret of this job, which srun passes on.
RAY_AUTH_TOKEN=$(python3 -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token
# The address that Ray would take, not the node's name: on many machines that is 127.0.1.1 to itself.
head=$(python3 -c 'import ray.util; print(ray.util.get_node_ip_address())')
export head port=$((20000 + SLURM_JOB_ID % 20000))  # jobs that share a node must not meet

# Not `ray symmetric-run`: its `ray stop` ends the Ray of every other job of yours on the node,
# and a SIGTERM would end Ray before the search has stopped its trials.
start_ray() {
  local own=(--block --num-cpus "$SLURM_CPUS_PER_TASK" --num-gpus "${SLURM_GPUS_ON_NODE:-0}"
    --min-worker-port 0 --max-worker-port 0)
  if [ "$SLURM_NODEID" = 0 ]; then
    exec ray start --head --node-ip-address "$head" --port "$port" \
      --include-dashboard false --temp-dir "/tmp/scrfd-nas-$SLURM_JOB_ID" "${own[@]}"
  fi
  for _ in {1..30}; do  # the head may be slower
    ray health-check --address "$head:$port" 2>/dev/null && break || sleep 2
  done
  exec ray start --address "$head:$port" "${own[@]}"
}
export -f start_ray

all_nodes() {  # are there
  python3 - "$head:$port" "$SLURM_JOB_NUM_NODES" <<'PYTHON'
import sys, time
import ray

ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
for _ in range(120):
    if sum(node["Alive"] for node in ray.nodes()) >= int(sys.argv[2]):
        sys.exit()
    time.sleep(1)
sys.exit(f"not all {sys.argv[2]} nodes have joined after 2 minutes")
PYTHON
}

driver= requeue= signalled=
stop() {
  signalled=yes
  [ -z "$driver" ] || kill -TERM "$driver" 2>/dev/null || true
}
trap 'requeue=yes; stop' USR1  # 5 minutes before the time limit
trap stop TERM                 # scancel, or a preemption, after which Slurm queues it again by itself

# srun takes no CPUs from sbatch's --cpus-per-task since Slurm 22.05.
srun --kill-on-bad-exit=0 --cpus-per-task "$SLURM_CPUS_PER_TASK" bash -c start_ray &
nodes=$!
for _ in {1..60}; do
  kill -0 "$nodes" 2>/dev/null || { echo "Ray did not start" >&2; exit 1; }
  ray health-check --address "$head:$port" 2>/dev/null && break || sleep 2
done
all_nodes

scrfd-nas "$@" --ray-address "$head:$port" &
driver=$!
while :; do
  signalled= status=0
  wait "$driver" || status=$?
  [ -n "$signalled" ] || break  # else a signal has ended the wait, not the driver
done
kill -TERM "$nodes" 2>/dev/null || true
wait "$nodes" || true
srun --kill-on-bad-exit=0 rm -rf "/tmp/scrfd-nas-$SLURM_JOB_ID" || true
if [ -n "$requeue" ] && [ "$status" -eq 75 ]; then  # stopped by us, to be continued
  scontrol requeue "$SLURM_JOB_ID"
fi
exit "$status"
