"""TLS: handshakes in time, verification of peers, reload of certificates (RFC 3261 §26.3.1, RFC 5922)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from dataclasses import replace
from pathlib import Path

import pytest

from imc_edge.flow import Hop
from imc_edge.transports import listener
from imc_edge.transports.network import ListenError
from imc_edge.transports.pool import PoolLimits
from imc_edge.transports.tls import Tls, TlsFiles, TlsFilesError
from tests.imc_edge.conftest import make_certificate
from tests.imc_edge.sockets import MESSAGE, Errors, Inbox, listening, network, until
from tests.patience import PATIENCE

RESPONSE = b"SIP/2.0 202 Accepted\r\nContent-Length: 0\r\n\r\n"


async def test_messages_go_both_ways_over_tls(tls_files: TlsFiles) -> None:
    """The peer's certificate names the domain of the URI."""
    inbox = Inbox(RESPONSE)
    back = Inbox()
    async with (
        listening(inbox, "tls:127.0.0.1:0", tls=tls_files) as far,
        listening(back, "udp:127.0.0.1:0", tls=replace(tls_files, certificate=None)) as near,
    ):
        errors = Errors()
        near.send(Hop("tls", *far.addresses[0][1:], "localhost"), MESSAGE, errors)
        await back.wait_for(1)
        assert (inbox.got, back.got, errors.got) == ([MESSAGE], [RESPONSE], [])
        assert inbox.flows[0].transport == "tls"


@pytest.mark.parametrize("name", ["other.example", "127.0.0.2"])
async def test_a_certificate_for_another_name_is_not_accepted(tls_files: TlsFiles, name: str) -> None:
    """RFC 5922 §7.2."""
    async with (
        listening(Inbox(), "tls:127.0.0.1:0", tls=tls_files) as far,
        listening(Inbox(), "udp:127.0.0.1:0", tls=tls_files) as near,
    ):
        errors = Errors()
        near.send(Hop("tls", *far.addresses[0][1:], name), MESSAGE, errors)
        await until(lambda: len(errors.got) == 1)
        assert near.pool.count == 0


async def test_a_certificate_of_an_unknown_authority_is_not_accepted(
    tls_files: TlsFiles, tmp_path: Path
) -> None:
    """RFC 3261 §26.3.1."""
    other = make_certificate(tmp_path, "other")
    async with (
        listening(Inbox(), "tls:127.0.0.1:0", tls=tls_files) as far,
        listening(Inbox(), "udp:127.0.0.1:0", tls=other) as near,
    ):
        errors = Errors()
        near.send(Hop("tls", *far.addresses[0][1:], "localhost"), MESSAGE, errors)
        await until(lambda: len(errors.got) == 1)
        assert "certificate" in str(errors.got[0]).lower()


@pytest.mark.parametrize("sent", [b"", b"OPTIONS sip:a SIP/2.0\r\n\r\n"])
async def test_a_handshake_that_takes_too_long_ends_the_connection(
    tls_files: TlsFiles, monkeypatch: pytest.MonkeyPatch, sent: bytes
) -> None:
    """A stalled one, and plain text on the TLS port."""
    monkeypatch.setattr(listener, "HANDSHAKE_TIMEOUT", 0.3)
    async with listening(Inbox(), "tls:127.0.0.1:0", tls=tls_files) as edge:
        reader, writer = await asyncio.open_connection(*edge.addresses[0][1:])
        writer.write(sent)
        received = b""
        with contextlib.suppress(ConnectionError):
            received = await asyncio.wait_for(reader.read(), PATIENCE)
        assert b"SIP/2.0" not in received  # an alert of TLS at most
        writer.close()
        await until(lambda: edge.pool.count == 0)


async def test_stalled_handshakes_count_as_connections(tls_files: TlsFiles) -> None:
    """The limit per address applies before the handshake costs anything."""
    async with listening(Inbox(), "tls:127.0.0.1:0", tls=tls_files, bounds=PoolLimits(100, 2)) as edge:
        where = edge.addresses[0][1:]
        peers = [socket.create_connection(where) for _ in range(2)]
        await until(lambda: edge.pool.count == 2)
        reader, writer = await asyncio.open_connection(*where)
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        writer.close()
        for peer in peers:
            peer.close()
        await until(lambda: edge.pool.count == 0)


def in_one(files: TlsFiles) -> bytes:
    """Certificate and key for a single file."""
    assert files.certificate is not None
    assert files.private_key is not None
    return files.certificate.read_bytes() + files.private_key.read_bytes()


async def test_a_reloaded_certificate_applies_from_the_next_connection_on(
    tls_files: TlsFiles, tmp_path: Path
) -> None:
    """SIGHUP; open connections keep theirs."""
    first, second = make_certificate(tmp_path, "first"), make_certificate(tmp_path, "second")
    live = tmp_path / "live.pem"
    live.write_bytes(in_one(first))
    files = TlsFiles(live, None, None)
    async with listening(Inbox(), "tls:127.0.0.1:0", tls=files) as edge:

        async def shown() -> bytes:
            context = ssl._create_unverified_context()  # noqa: S323 - looks at whatever is shown
            _, writer = await asyncio.open_connection(*edge.addresses[0][1:], ssl=context)
            certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            writer.close()
            return bytes(certificate)

        before = await shown()
        live.write_bytes(in_one(second))
        edge._tls.reload()
        assert await shown() != before
        live.write_bytes(b"rubbish")
        with pytest.raises(TlsFilesError, match="tls_certificate"):
            edge._tls.reload()
        assert await shown() != before


def test_listening_on_tls_needs_a_certificate() -> None:
    """A process that cannot do what it is configured for does not start."""
    with pytest.raises(ListenError, match="tls_certificate"):
        network("tls:127.0.0.1:0")


def test_an_unusable_file_is_named(tmp_path: Path) -> None:
    """Together with its setting."""
    missing = tmp_path / "missing.pem"
    with pytest.raises(TlsFilesError, match=r"tls_ca.*missing.pem"):
        Tls(TlsFiles(ca=missing))
    with pytest.raises(TlsFilesError, match=r"tls_certificate.*missing.pem"):
        Tls(TlsFiles(certificate=missing))
