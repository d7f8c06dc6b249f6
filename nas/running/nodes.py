"""The machines of a Ray, and what fits on them: a trial runs on one machine, never on two."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.running.tasks import Resources
from search_spaces.errors import ConfigError, ScrfdNasError

_HAIR = 1e-6  # so that ten tenths of a GPU fit on one


class NodeLostError(ScrfdNasError):
    """Ray on this machine has died; nothing that was finished is lost."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One machine as Ray counts it.

    Attributes:
        id: Ray's name of it.
        address: its IP address.
        cpus, gpus: that Ray may give to trials.
    """

    id: str = ""
    address: str = ""
    cpus: float
    gpus: float = 0.0

    def room(self, resources: Resources) -> int:
        """Trials that fit at the same time."""
        pairs = ((self.cpus, resources.cpus_per_trial), (self.gpus, resources.gpus_per_trial))
        return int(min((there + _HAIR) // need for there, need in pairs if need > 0))

    def __str__(self) -> str:
        where = f" ({self.address})" if self.address else ""
        return f"{self.cpus:g} cores and {self.gpus:g} GPUs{where}"


def nodes_of(listed: Iterable[Mapping[str, Any]]) -> tuple[Node, ...]:
    """The machines that are alive, from what `ray.nodes()` lists."""
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


def default_resources(nodes: Sequence[Node], num_trials: int) -> Resources:
    """A GPU a trial where there are GPUs; otherwise the cores shared among the trials.

    What it says fits on every machine with a GPU, or on the largest one.
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
    """Refuse a trial that fits on no machine, which Ray would wait for without end.

    Raises:
        ConfigError: says what the largest machine has.
    """
    if any(node.room(resources) for node in nodes):
        return
    whose = "that Ray has" if len(nodes) < 2 else f"of the largest of {len(nodes)} nodes"
    wanted = {"cpus": resources.cpus_per_trial, "gpus": resources.gpus_per_trial}
    for name, amount in wanted.items():
        largest = max((getattr(node, name) for node in nodes), default=0.0)
        if amount > largest + _HAIR:
            rule = f"--{name}-per-trial must not exceed the {largest:g} {whose}"
            raise ConfigError(f"{rule}, got {amount:g}; a trial runs on one node")
    largest_node = max(nodes, key=lambda node: (node.gpus, node.cpus))
    raise ConfigError(
        f"no node has both {wanted['cpus']:g} cores and {wanted['gpus']:g} GPUs for a trial; "
        f"the largest has {largest_node}: lower --cpus-per-trial or --gpus-per-trial"
    )


def check_own_processes() -> None:
    """Find out whether the Ray that this process has started still runs.

    Without it, Ray ends this process some seconds later, in the midst of whatever it does.

    Raises:
        NodeLostError: a part of it that cannot be done without has died.
    """
    from ray._private import worker

    node = getattr(worker, "_global_node", None)  # Ray tells it nowhere else
    died = [kind for kind, _ in node.dead_processes()] if node is not None else []
    for kind in ("gcs_server", "raylet"):
        if kind in died:
            raise NodeLostError(
                f"Ray's process {kind} on this machine has died (killed, or the machine ran out "
                "of memory); the same command continues the search"
            )
