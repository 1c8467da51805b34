"""The FIFO: which process serves it, other files in its place, incomplete requests."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from imc_worker.mi import fifo as fifo_module
from imc_worker.mi.fifo import Fifo, FifoError
from imc_worker.mi.fifo_protocol import FifoRequest
from tests.patience import PATIENCE


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of its own, and no long waits."""
    monkeypatch.setattr(fifo_module, "CHECK_SECONDS", 0.02)
    monkeypatch.setattr(fifo_module, "INCOMPLETE_SECONDS", 0.05)
    monkeypatch.setattr(fifo_module, "REPLY_PAUSE", 0.001)
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


async def echo(request: FifoRequest) -> str | None:
    """The command, or so much that no pipe holds it."""
    return {"long": "x" * 300_000, "none": None}.get(request.command, request.command)


async def until(true: object) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(PATIENCE):
        while not true():  # type: ignore[operator]
            await asyncio.sleep(0.005)


def put(path: Path, data: bytes) -> None:
    """Write as a client does."""
    writer = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    os.write(writer, data)
    os.close(writer)


async def asked(folder: Path, command: str) -> bytes:
    """The whole reply to a command."""
    reply = folder / "reply"
    os.mkfifo(reply)
    reader = os.open(reply, os.O_RDONLY | os.O_NONBLOCK)
    put(folder / "fifo", f":{command}:reply\n\n".encode())
    data = b""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                piece = os.read(reader, 65536)
            except BlockingIOError:
                piece = b""
                await asyncio.sleep(0.005)
                continue
            if not piece and data:
                break
            data += piece
            await asyncio.sleep(0)
    os.close(reader)
    reply.unlink()
    return data


async def test_a_long_reply_is_written_as_the_client_reads(folder: Path) -> None:
    """Other requests are handled meanwhile; the reply FIFO is closed at the end."""
    serving = asyncio.create_task(Fifo(folder / "fifo", folder, echo).run())
    await until((folder / "fifo").exists)
    assert len(await asked(folder, "long")) == 300_000
    assert await asked(folder, "short") == b"short"
    serving.cancel()
    await asyncio.wait([serving])
    assert not (folder / "fifo").exists()


async def test_an_incomplete_request_is_discarded(folder: Path) -> None:
    """The next one is understood."""
    serving = asyncio.create_task(Fifo(folder / "fifo", folder, echo).run())
    await until((folder / "fifo").exists)
    put(folder / "fifo", b":half")
    await asyncio.sleep(0.2)
    put(folder / "fifo", b"nonsense\n\n:none:reply\n\n:short:\n\n:short:nobody\n\n:short:a/b\n\n")
    assert await asked(folder, "short") == b"short"
    serving.cancel()
    await asyncio.wait([serving])


async def test_a_second_server_waits_for_the_first(folder: Path) -> None:
    """It takes over when the first one ends."""
    first, second = (asyncio.create_task(Fifo(folder / "fifo", folder, echo).run()) for _ in range(2))
    await until((folder / "fifo").exists)
    await asyncio.sleep(0.05)
    before = (folder / "fifo").stat().st_ino
    first.cancel()
    await asyncio.wait([first])
    await until((folder / "fifo").exists)
    assert await asked(folder, "short") == b"short"
    assert before
    second.cancel()
    await asyncio.wait([second])


async def test_a_fifo_left_by_a_dead_process_is_replaced(folder: Path) -> None:
    """Any other file in its place is left alone."""
    os.mkfifo(folder / "fifo")
    served = Fifo(folder / "fifo", folder, echo)
    served.open()
    served.open()  # once is enough
    served._close()
    (folder / "plain").write_text("precious")
    with pytest.raises(FifoError, match="is no FIFO"):
        Fifo(folder / "plain", folder, echo).open()
    assert (folder / "plain").read_text() == "precious"


async def test_a_removed_fifo_is_created_again(folder: Path) -> None:
    """As mi_fifo does."""
    serving = asyncio.create_task(Fifo(folder / "fifo", folder, echo).run())
    await until((folder / "fifo").exists)
    (folder / "fifo").unlink()
    await until((folder / "fifo").exists)
    assert await asked(folder, "short") == b"short"
    serving.cancel()
    await asyncio.wait([serving])
