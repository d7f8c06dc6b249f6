from collections.abc import Iterator

import pytest

from nas.running.cluster import Cluster, connected


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[Cluster]:
    """A local Ray of two cores; starting it takes seconds."""
    with connected(cpus=2) as cluster:
        yield cluster
