"""TLS to Redis: server and client check each other's certificate."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from imc_common.settings import Settings
from imc_common.store import Store, StoreUnreachable, UrlError
from tests.certificates import make_authority, make_certificate
from tests.ports import free_port
from tests.servers import Server, program, running

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """A certificate authority, and a certificate for 127.0.0.1 that both sides use."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_authority(folder)
        make_certificate(folder, "redis", "127.0.0.1")
        yield folder


@pytest.fixture
def server(folder: Path) -> Iterator[Server]:
    """Accepts only TLS, from clients with a certificate of the authority."""
    program("redis-server")
    port = free_port()
    tls = ["--tls-port", str(port), "--tls-ca-cert-file", str(folder / "ca.pem")]
    tls += ["--tls-cert-file", str(folder / "redis.pem"), "--tls-key-file", str(folder / "redis.key")]
    with tempfile.TemporaryDirectory() as data, running("redis-server", Path(data), *tls) as server:
        server.url = f"rediss://127.0.0.1:{port}"
        yield server


def own(folder: Path) -> str:
    return f"ssl_certfile={folder / 'redis.pem'}&ssl_keyfile={folder / 'redis.key'}"


async def test_certificates_of_both_sides_are_checked(server: Server, folder: Path) -> None:
    """A connection needs the authority and a client certificate."""
    store = await Store.connect(
        Settings(db_url=f"{server.url}?ssl_ca_certs={folder / 'ca.pem'}&{own(folder)}")
    )
    assert await store.run([("SET", "a", "1"), ("GET", "a")]) == [b"OK", b"1"]
    await store.close()
    for options in (own(folder), f"ssl_ca_certs={folder / 'ca.pem'}"):
        with pytest.raises(StoreUnreachable):
            await Store.connect(Settings(db_url=f"{server.url}?{options}"))


async def test_certificate_checks_can_be_turned_off(server: Server, folder: Path) -> None:
    """For a server with a self-signed certificate in a trusted network."""
    store = await Store.connect(Settings(db_url=f"{server.url}?ssl_cert_reqs=none&{own(folder)}"))
    assert await store.run([("PING",)]) == [b"PONG"]
    await store.close()


async def test_a_tls_file_that_cannot_be_loaded_is_reported() -> None:
    """When the process starts, as a mistake in db_url."""
    with pytest.raises(UrlError, match="TLS files"):
        await Store.connect(Settings(db_url="rediss://h?ssl_ca_certs=/no/such/file"))
