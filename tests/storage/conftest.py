from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from xingyue.storage.embedded import EmbeddedS3


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedS3]:
    """One embedded server for all tests that do not stop it."""
    folder: Path = tmp_path_factory.mktemp("s3")
    with EmbeddedS3(folder, free_port()) as server:
        yield server


@pytest.fixture
def own_port() -> int:
    return free_port()
