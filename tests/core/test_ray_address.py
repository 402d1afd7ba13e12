"""A Ray cluster that is not there is told within seconds."""

import socket

import pytest

from recsys.core.cluster import _probe
from recsys.errors import RecsysError


def test_an_address_at_which_nobody_listens_is_refused() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    with pytest.raises(RecsysError, match=f"127.0.0.1:{port} .RAY_ADDRESS. cannot be reached"):
        _probe(f"127.0.0.1:{port}")
    with pytest.raises(RecsysError, match="cannot be reached"):
        _probe(f"ray://127.0.0.1:{port}")


@pytest.mark.parametrize("address", ["somewhere", "host:", ":6379", "host:port"])
def test_an_address_without_host_or_port_is_refused(address: str) -> None:
    with pytest.raises(RecsysError, match="write HOST:PORT"):
        _probe(address)


def test_a_listening_address_passes() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        _probe(f"127.0.0.1:{server.getsockname()[1]}")
    for address in ("auto", "local"):
        _probe(address)
