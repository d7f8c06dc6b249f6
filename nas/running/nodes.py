"""Machines of a Ray cluster, and the trials that fit on them; a trial runs on one machine."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from nas.running.tasks import Resources
from nas.search.stage_request import StageRequest
from search_spaces.errors import ConfigError, ScrfdNasError

_SLACK = 1e-6  # so that ten tenths of a GPU fit on one


class NodeLostError(ScrfdNasError):
    """Ray on this machine has died; no finished work is lost."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine of a Ray cluster.

    Attributes:
        id: Ray's name of the machine.
        address: IP address.
        cpus, gpus: Cores and GPUs for trials.
    """

    id: str = ""
    address: str = ""
    cpus: float
    gpus: float = 0.0

    def room(self, resources: Resources) -> int:
        """Return the number of trials that fit at the same time."""
        pairs = ((self.cpus, resources.cpus_per_trial), (self.gpus, resources.gpus_per_trial))
        return int(min((there + _SLACK) // need for there, need in pairs if need > 0))

    def __str__(self) -> str:
        where = f" ({self.address})" if self.address else ""
        return f"{self.cpus:g} cores and {self.gpus:g} GPUs{where}"


def nodes_of(listed: Iterable[Mapping[str, Any]]) -> tuple[Node, ...]:
    """Return the machines that are alive from the output of `ray.nodes()`."""
    return tuple(
        Node(
            id=str(item["NodeID"]),
            address=str(item["NodeManagerAddress"]),
            cpus=float(item["Resources"].get("CPU", 0.0)),
            gpus=float(item["Resources"].get("GPU", 0.0)),
        )
        for item in listed
        if item["Alive"]
    )


def choose_resources(nodes: Sequence[Node], request: StageRequest, num_trials: int) -> Resources:
    """Return the resources of each trial: those of the request, or else the default.

    Raises:
        ConfigError: No machine can hold a trial.
    """
    default = default_resources(nodes, num_trials)
    wanted = {name: getattr(request, name) for name in ("cpus_per_trial", "gpus_per_trial")}
    chosen = replace(default, **{k: v for k, v in wanted.items() if v is not None})
    check_room(nodes, chosen)
    return chosen


def default_resources(nodes: Sequence[Node], num_trials: int) -> Resources:
    """Return one GPU for each trial if there are GPUs, otherwise the cores divided by the trials.

    The result fits on every machine with a GPU, or on the largest machine.
    """
    with_gpus = [node for node in nodes if node.gpus >= 1]
    if with_gpus:
        cores = min(node.cpus // node.gpus for node in with_gpus)
        return Resources(cpus_per_trial=max(1, cores), gpus_per_trial=1)
    cores_of = [int(node.cpus) for node in nodes]
    at_once = min(num_trials, sum(cores_of))
    choices = range(max(cores_of, default=1), 1, -1)
    fitting = (cores for cores in choices if sum(n // cores for n in cores_of) >= at_once)
    return Resources(cpus_per_trial=next(fitting, 1))


def check_room(nodes: Sequence[Node], resources: Resources) -> None:
    """Refuse a trial that fits on no machine; Ray would wait for one without end.

    Raises:
        ConfigError: No machine is large enough.
    """
    if any(node.room(resources) for node in nodes):
        return
    whose = "that Ray has" if len(nodes) < 2 else f"of the largest of {len(nodes)} nodes"
    wanted = {"cpus": resources.cpus_per_trial, "gpus": resources.gpus_per_trial}
    for name, amount in wanted.items():
        largest = max((getattr(node, name) for node in nodes), default=0.0)
        if amount > largest + _SLACK:
            rule = f"--{name}-per-trial must not exceed the {largest:g} {whose}"
            raise ConfigError(f"{rule}, got {amount:g}; a trial runs on one node")
    largest_node = max(nodes, key=lambda node: (node.gpus, node.cpus))
    raise ConfigError(
        f"no node has both {wanted['cpus']:g} cores and {wanted['gpus']:g} GPUs for a trial; "
        f"the largest has {largest_node}: lower --cpus-per-trial or --gpus-per-trial"
    )


def check_own_processes() -> None:
    """Check that the Ray that this process has started still runs.

    Otherwise Ray would end this process some seconds later, whatever it does.

    Raises:
        NodeLostError: A required process of Ray has died.
    """
    from ray._private import worker

    node = getattr(worker, "_global_node", None)  # Ray has no public interface for this
    died = [kind for kind, _ in node.dead_processes()] if node is not None else []
    for kind in ("gcs_server", "raylet"):
        if kind in died:
            raise NodeLostError(
                f"Ray's process {kind} on this machine has died (killed, or the machine ran out "
                "of memory); the same command continues the search"
            )
