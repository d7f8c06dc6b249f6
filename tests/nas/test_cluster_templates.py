"""Templates in cluster/: checked by Ray's schema, by a dry run, and against our own commands.

No cloud is reached: Ray validates the files of `ray up`, the Slurm script runs with replacements
of Slurm's and Ray's commands, and of the RayJob the structure is checked.
"""

import json
import os
import re
import shlex
import signal
import subprocess
import textwrap
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from nas.cli.main import build_app

ROOT = Path(__file__).resolve().parents[2]
CLUSTER = ROOT / "cluster"
RAY_UP = sorted(["aws.yaml", "on_premise.yaml"])
TEXTS = {path.name: path.read_text(encoding="utf-8") for path in sorted(CLUSTER.iterdir())}
COMMAND = re.compile(r"scrfd-nas ((?:stage1|stage2|report|demo)\b[^'\n&;]*)")


def as_yaml(name: str) -> Any:
    return yaml.safe_load(TEXTS[name])


def flags_of(command: str) -> set[str]:
    commands: Any = build_app()
    return {flag for item in commands.commands[command].params for flag in item.opts}


@pytest.mark.parametrize("name", RAY_UP)
def test_ray_accepts_its_launcher_files_without_unknown_keys(name: str) -> None:
    from ray.autoscaler._private.util import prepare_config, validate_config

    more = {"cluster_synced_files": [], "file_mounts_sync_continuously": False}
    prepared = prepare_config(as_yaml(name))
    validate_config(more | prepared)
    assert prepared["available_node_types"]
    with pytest.raises(Exception, match="max_worker"):
        validate_config(more | prepare_config(as_yaml(name) | {"max_worker": 8}))


@pytest.mark.parametrize(
    ("name", "line"),
    [(name, line) for name, text in TEXTS.items() for line in COMMAND.findall(text)],
)
def test_commands_in_the_templates_exist_with_their_flags(name: str, line: str) -> None:
    words = shlex.split(line.partition("#")[0].replace("$", ""))
    assert {word for word in words if word.startswith("--")} <= flags_of(words[0])


@pytest.mark.parametrize("name", [*RAY_UP, "search.sh", "rayjob.yaml"])
def test_every_template_joins_the_running_cluster(name: str) -> None:
    assert "--ray-address auto" in TEXTS[name]


@pytest.mark.parametrize("name", RAY_UP)
def test_every_node_has_the_token_and_the_dashboard_is_local(name: str) -> None:
    cluster = as_yaml(name)
    assert "~/.ray/auth_token" in cluster["file_mounts"]
    for role in ("head", "worker"):
        assert "RAY_AUTH_MODE=token ray start" in cluster[f"{role}_start_ray_commands"][-1]
    assert "--dashboard-host=127.0.0.1" in cluster["head_start_ray_commands"][-1]


def test_the_rayjob_gives_head_and_workers_one_image_and_the_shared_folder() -> None:
    job = as_yaml("rayjob.yaml")
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    cluster = job["spec"]["rayClusterSpec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    pods = [group["template"]["spec"] for group in groups]
    assert len({pod["containers"][0]["image"] for pod in pods}) == 1
    for pod in pods:
        container = pod["containers"][0]
        assert container["resources"]["requests"] == container["resources"]["limits"]
        mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
        assert mounted["work"] == "/nfs"
        assert set(mounted) == {volume["name"] for volume in pod["volumes"]}
    words = shlex.split(job["spec"]["entrypoint"])
    assert words[:2] == ["scrfd-nas", "stage1"]
    assert {word for word in words if word.startswith("--")} <= flags_of("stage1")
    paths = [word for word in words if word.startswith("/")]
    assert paths
    assert all(path.startswith("/nfs/") for path in paths)


def test_the_image_holds_every_package() -> None:
    lines = (ROOT / "Dockerfile").read_text(encoding="utf-8").splitlines()
    copies = [line.split() for line in lines if line.startswith("COPY")]
    copied = {words[1] for words in copies if len(words) == 3}
    include = re.search(r"include = (\[.*\])", (ROOT / "pyproject.toml").read_text("utf-8"))
    assert include
    assert copied == {name.rstrip("*") for name in json.loads(include[1])}
    kept = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {f"!{name}" for name in copied} <= set(kept)


# Replacements of programs; each writes its arguments to a file.
PROGRAMS = {
    "srun": """
        if [ "$2" = rm ]; then echo "$@" > "$RECORD/removed"; exit; fi
        echo "$@" > "$RECORD/srun"
        SLURM_NODEID=0 bash -c start_ray
        SLURM_NODEID=1 bash -c start_ray
        touch "$RECORD/joined"
        trap 'exit 143' TERM
        for _ in {1..600}; do sleep 0.05; done
    """,
    "scontrol": 'echo "$@" > "$RECORD/scontrol"',
    "ray": 'echo "$RAY_AUTH_MODE $@" >> "$RECORD/ray"',
    "python3": """
        case "$*" in
        "- "*) until [ -e "$RECORD/joined" ]; do sleep 0.02; done;;
        *get_node_ip_address*) echo 10.0.0.7;;
        *secrets*) echo a-secret;;
        esac
    """,
    "scrfd-nas": """
        echo "$@" > "$RECORD/scrfd-nas"
        trap 'echo "$RAY_AUTH_TOKEN" > "$RECORD/stopped"; exit 75' TERM
        for _ in $(seq "${TICKS:-0}"); do sleep 0.05; done
        exit "${CODE:-0}"
    """,
}
JOB = 123456
ADDRESS = f"10.0.0.7:{20000 + JOB % 20000}"


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """Return the environment of a Slurm job of 2 nodes, with replaced programs."""
    for name, text in PROGRAMS.items():
        (tmp_path / "bin").mkdir(exist_ok=True)
        (tmp_path / "bin" / name).write_text(f"#!/bin/bash\n{textwrap.dedent(text)}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "RECORD": str(tmp_path),
        "SLURM_JOB_ID": str(JOB),
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_CPUS_PER_TASK": "64",
        "SLURM_GPUS_ON_NODE": "8",
    }


def test_the_slurm_script_starts_ray_on_all_nodes_and_the_command_on_the_first(
    slurm: dict[str, str],
) -> None:
    done = run_slurm(slurm | {"CODE": "3"}, "stage1", "--flops", "2.5G")
    assert done.returncode == 3
    written = {
        path.name: path.read_text() for path in Path(slurm["RECORD"]).iterdir() if path.is_file()
    }
    assert written["scrfd-nas"] == f"stage1 --flops 2.5G --ray-address {ADDRESS}\n"
    assert "--cpus-per-task 64" in written["srun"]
    head, worker = (line for line in written["ray"].splitlines() if " start " in line)
    assert head.startswith("token start --head --node-ip-address 10.0.0.7 ")
    assert worker.startswith(f"token start --address {ADDRESS} ")
    for line in (head, worker):
        assert "--block --num-cpus 64 --num-gpus 8 " in line
    assert "scontrol" not in written
    assert written["removed"].split()[1:] == ["rm", "-rf", f"/tmp/scrfd-nas-{JOB}"]
    usage = run_slurm(slurm)
    assert usage.returncode == 2
    assert "usage: sbatch" in usage.stderr


def run_slurm(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    command = ["bash", str(CLUSTER / "slurm.sh"), *arguments]
    return subprocess.run(command, env=environment, check=False, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("number", "requeued"),
    [(signal.SIGUSR1, f"requeue {JOB}\n"), (signal.SIGTERM, None)],
    ids=["near the time limit", "cancelled"],
)
def test_the_slurm_script_stops_the_search_and_queues_again_only_near_its_time_limit(
    slurm: dict[str, str], number: signal.Signals, requeued: str | None
) -> None:
    record = Path(slurm["RECORD"])
    command = ["bash", str(CLUSTER / "slurm.sh"), "stage1"]
    with subprocess.Popen(command, env=slurm | {"TICKS": "400"}) as job:
        while not (record / "scrfd-nas").exists():
            time.sleep(0.02)
        time.sleep(0.2)
        job.send_signal(number)
        assert job.wait(timeout=15) == 75
    assert (record / "stopped").read_text() == "a-secret\n"
    file = record / "scontrol"
    assert (file.read_text() if file.exists() else None) == requeued
