"""Trials that fit on the machines of a cluster."""

from pathlib import Path

import pytest

from nas.running.cluster import Cluster
from nas.running.nodes import Node, check_room, default_resources, nodes_of
from nas.running.signals import StopSignal
from nas.running.tasks import Resources
from search_spaces.errors import ConfigError


def nodes(*sizes: tuple[float, float]) -> tuple[Node, ...]:
    """Return machines of these numbers of cores and GPUs, at 10.0.0.1 and so on."""
    return tuple(
        Node(address=f"10.0.0.{number}", cpus=cpus, gpus=gpus)
        for number, (cpus, gpus) in enumerate(sizes, start=1)
    )


def resources(cpus: float, gpus: float = 0.0) -> Resources:
    return Resources(cpus_per_trial=cpus, gpus_per_trial=gpus)


@pytest.mark.parametrize(
    ("sizes", "wanted", "message"),
    [
        ([(8, 1), (8, 1)], (1, 2), "--gpus-per-trial must not exceed the 1 of the largest of 2"),
        ([(2, 0), (4, 0)], (6, 0), "--cpus-per-trial must not exceed the 4 of the largest of 2"),
        ([(2, 0)], (3, 0), "--cpus-per-trial must not exceed the 2 that Ray has, got 3"),
        ([], (1, 0), "--cpus-per-trial must not exceed the 0 that Ray has, got 1"),
        (
            [(2, 8), (64, 0)],
            (8, 1),
            r"no node has both 8 cores and 1 GPUs for a trial; the largest has 2 cores and 8 GPUs "
            r"\(10.0.0.1\): lower --cpus-per-trial",
        ),
    ],
)
def test_a_trial_that_fits_on_no_node_is_refused(
    sizes: list[tuple[float, float]], wanted: tuple[float, float], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        check_room(nodes(*sizes), resources(*wanted))


def test_a_trial_that_fits_on_one_node_is_not_refused() -> None:
    check_room(nodes((1, 0), (4, 2)), resources(4, 2))
    check_room(nodes((1, 0.3)), resources(1, 0.1 + 0.2))


@pytest.mark.parametrize(
    ("sizes", "trials", "expected"),
    [
        ([(64, 8)], 64, (8, 1)),
        ([(2, 4)], 64, (1, 1)),
        ([(16, 0)], 4, (4, 0)),
        ([(16, 0)], 64, (1, 0)),
        ([(2, 0)], 8, (1, 0)),
        ([(64, 8), (4, 1)], 9, (4, 1)),  # the poorer node with GPUs decides
        ([(64, 0), (8, 4)], 9, (2, 1)),  # cores of nodes without GPUs do not count
        ([(2, 0), (2, 0)], 1, (2, 0)),  # not 4, which no node has
        ([(3, 0), (3, 0), (3, 0)], 3, (3, 0)),
        ([(3, 0), (3, 0)], 4, (1, 0)),  # of 2 cores each only 2 would fit at once
        ([(0, 0), (2, 0)], 64, (1, 0)),
        ([], 4, (1, 0)),
    ],
)
def test_the_default_fits_on_nodes(
    sizes: list[tuple[float, float]], trials: int, expected: tuple[float, float]
) -> None:
    assert default_resources(nodes(*sizes), trials) == resources(*expected)


@pytest.mark.parametrize(
    ("sizes", "wanted", "room"),
    [
        ([(3, 0), (4, 0), (1, 0)], (2, 0), [1, 2, 0]),
        ([(8, 2), (16, 0)], (1, 1), [2, 0]),
        ([(8, 1)], (1, 0.1), [8]),
        ([(16, 1)], (1, 0.1), [10]),
        ([(2, 8)], (0.5, 1), [4]),
    ],
)
def test_room_follows_from_the_scarcer_resource_of_each_node(
    sizes: list[tuple[float, float]], wanted: tuple[float, float], room: list[int]
) -> None:
    assert [node.room(resources(*wanted)) for node in nodes(*sizes)] == room
    cluster = Cluster(nodes=nodes(*sizes), scratch=Path(), stop=StopSignal())
    assert cluster.slots(resources(*wanted)) == sum(room)


def test_dead_nodes_are_left_out() -> None:
    size = {"NodeManagerAddress": "10.0.0.1", "Resources": {"CPU": 4.0, "GPU": 1.0}}
    found = nodes_of(
        [{"NodeID": "1", "Alive": True, **size}, {"NodeID": "2", "Alive": False, **size}]
    )
    assert found == (Node(id="1", address="10.0.0.1", cpus=4.0, gpus=1.0),)
