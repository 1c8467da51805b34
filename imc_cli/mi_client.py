"""A client of the management interface (MI): by HTTP or FIFO, depending on the settings."""

from __future__ import annotations

import http.client
import json
import os
import secrets
import select
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from imc_common.errors import ImcError
from imc_common.settings import Settings
from imc_common.settings.values import host_and_port

TIMEOUT_SECONDS = 30.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 # if the server listens on all addresses, use this one


class MiUnreachable(ImcError):
    """There is no valid response. The error says from where."""


class MiFailure(ImcError):
    """The command failed: code, text and details of its response."""


def ask(settings: Settings, command: str, params: list[Any] | dict[str, Any]) -> Any:
    """The result of a command. Raises MiUnreachable and MiFailure."""
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": command, "params": params})
    if settings.mi_listen:
        reply = _by_http(settings, request)
    elif settings.mi_fifo:
        reply = _by_fifo(Path(settings.mi_fifo), settings.mi_reply_dir, request)
    else:
        raise MiUnreachable(
            "neither mi_listen nor mi_fifo is set. Set --mi-listen HOST:PORT or --mi-fifo PATH"
        )
    try:
        response = json.loads(reply)
    except ValueError:
        raise MiUnreachable(f"not an MI response: {reply[:200]!r}") from None
    if "error" in response:
        error = response["error"]
        detail = f" ({error['data']})" if error.get("data") else ""
        raise MiFailure(f"{error['code']} {error['message']}{detail}")
    return response["result"]


def _by_http(settings: Settings, request: str) -> str:
    host, port = host_and_port(settings.mi_listen)
    headers = {"Content-Type": "application/json"}
    if settings.mi_token:
        headers["Authorization"] = f"Bearer {settings.mi_token}"
    connection = http.client.HTTPConnection(_ANY.get(host, host), port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("POST", "/mi", request.encode(), headers)
        response = connection.getresponse()
        text = response.read().decode()
    except (OSError, http.client.HTTPException) as error:
        why = getattr(error, "strerror", None) or error
        raise MiUnreachable(f"no response from {host}:{port}: {why}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise MiUnreachable(f"{host}:{port} responded with {response.status} {response.reason}")
    return text


def _by_fifo(fifo: Path, folder: Path, request: str) -> str:
    name = f"imc_reply_{os.getpid()}_{secrets.token_hex(4)}"
    path = folder / name
    try:
        os.mkfifo(path, 0o660)
        path.chmod(0o660)  # whatever the umask
        with suppress(OSError):  # the server opens it by its group, which root and its members can set
            os.chown(path, -1, fifo.stat().st_gid)
    except OSError as error:
        raise MiUnreachable(f"the reply FIFO cannot be created: {error}") from error
    try:
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
        try:
            writer = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
            os.write(writer, f":{name}:{request}\n".encode())
            os.close(writer)
            return _read(reader, fifo)
        finally:
            os.close(reader)
    except OSError as error:
        raise MiUnreachable(f"no process reads {fifo}: {error.strerror}") from error
    finally:
        with suppress(OSError):
            path.unlink()


def _read(reader: int, fifo: Path) -> str:
    """All bytes until the other side closes the FIFO."""
    until, data = time.monotonic() + TIMEOUT_SECONDS, b""
    while time.monotonic() < until:
        ready, _, _ = select.select([reader], [], [], 0.1)
        if not ready:
            continue
        piece = os.read(reader, 65536)
        data += piece
        if not piece and data:
            return data.decode()
        if not piece:
            time.sleep(0.01)  # not opened for writing yet
    raise MiUnreachable(f"no response from {fifo}")
