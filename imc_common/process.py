"""The common part of edge and worker processes, from the command line to the exit.

Start: read the settings, serve the status pages, wait for Redis, then run the parts. SIGTERM or SIGINT: drain
and stop; a second one stops at once, and leaves what is pending in Redis. SIGHUP: read the settings again.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import random
import signal
import sys
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import structlog
import uvloop

from imc_common import logs
from imc_common.errors import ImcError
from imc_common.metrics import Metrics
from imc_common.reload import Reloadable, Role, reload
from imc_common.settings import Settings, SettingsError, load
from imc_common.status import StatusServer
from imc_common.store import Store, StoreRefused, StoreUnreachable
from imc_common.store.config_watch import ConfigWatch
from imc_common.systemd import notify

RETRY_SECONDS: Final = 1.0
"""Mean pause between attempts to reach Redis at the start."""

log = structlog.get_logger()


class Part(Protocol):
    """A part that runs as long as the process."""

    async def run(self) -> None:
        """Until cancelled, or until the process drains."""


class Process(ABC):
    """One process of imc. `Edge` and `Worker` add their parts."""

    def __init__(self, role: Role, settings: Settings, reread: Callable[[], Settings] | None = None) -> None:
        """``reread`` returns the new settings on SIGHUP; without it they never change."""
        self.role = role
        self.settings = settings
        self.metrics = Metrics()
        self.stopping = asyncio.Event()
        """Set by the first SIGTERM or SIGINT."""
        self.reloadable: Sequence[Reloadable] = ()
        self._reread = reread
        self._watch: Part | None = None

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT, then drain. Raises StoreRefused and UrlError."""
        self._handle_signals()
        pages = StatusServer(self.metrics, self.trouble)
        await pages.start(self.settings)
        store = await self._reach_redis()
        if store is None:
            return
        self._watch = ConfigWatch(store, self.settings.hash_size, store.secret)
        try:
            await self.serve(store)
        finally:
            await self.close()
            await pages.close()
            await store.close()

    @abstractmethod
    def trouble(self) -> str:
        """Why this process is not ready for work; empty if it is."""

    @abstractmethod
    async def serve(self, store: Store) -> None:
        """Create the parts and `run_parts`. Then remove from Redis what this process owns."""

    async def close(self) -> None:  # noqa: B027 # optional
        """Close sockets and files, also after an error."""

    def reload_files(self) -> None:  # noqa: B027 # optional
        """Read the files again that settings name."""

    async def run_parts(
        self, parts: Sequence[Part], drain: Callable[[], Awaitable[None]], **details: object
    ) -> None:
        """Run the parts until a signal comes, then `drain`, then cancel them. ``details`` are for the log.

        Raises StoreRefused at once if Redis has other values than all processes agreed on.
        """
        log.info(f"{self.role} started", **details)
        notify("READY=1")
        _calm_collector()
        if self._watch is not None:
            parts = [*parts, self._watch]
        try:
            async with asyncio.TaskGroup() as tasks:
                running = [tasks.create_task(part.run()) for part in parts]
                await self.stopping.wait()
                notify("STOPPING=1")
                await drain()
                for task in running:
                    task.cancel()
        except ExceptionGroup as errors:
            refused, _ = errors.split(StoreRefused)
            if refused is None:
                raise
            # It does not drain: what it sent or accepted would have an identity that no other process knows.
            log.error(f"{self.role} stopped immediately", reason=str(refused.exceptions[0]))  # noqa: TRY400 # no traceback: no fault of ours
            raise refused.exceptions[0] from None

    async def _reach_redis(self) -> Store | None:
        """A store, as soon as Redis is reachable; None if a signal stops the process before."""
        while not self.stopping.is_set():
            try:
                return await Store.connect(self.settings)
            except StoreUnreachable as error:
                log.warning("redis unreachable", reason=str(error))
            with suppress(TimeoutError):
                pause = RETRY_SECONDS * random.uniform(0.5, 1.5)  # noqa: S311 # jitter
                async with asyncio.timeout(pause):
                    await self.stopping.wait()
        return None

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # `imc edge` blocks it for the start

    def _stop(self) -> None:
        if self.stopping.is_set():
            log.warning(f"{self.role} stopped immediately", reason="second_signal")
            os._exit(1)
        self.stopping.set()

    def _reload(self) -> None:
        self.reload_files()
        if self._reread is not None:
            self.settings = reload(self.settings, self._reread, self.role, self.reloadable)


def _calm_collector() -> None:
    """Make Python's cycle collector run rarely, because it would find almost no garbage.

    The objects made at the start live as long as the process. A batch of requests that waits for Redis has
    enough objects to trigger a collection, but is not garbage. Almost no object of a message is in a
    reference cycle.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def main(role: Role, make: Callable[[Settings, Callable[[], Settings]], Process]) -> int:
    """Run a process until a signal stops it. Returns the exit status: 2 for wrong settings.

    ``make`` gets the settings, and a function that reads them again; it is called in the event loop.
    """
    parser = argparse.ArgumentParser(
        prog=f"python -P -m imc_{role}",
        description=f"One {role} process. Settings also come from the environment.",
    )
    parser.add_argument("--config", type=Path, help="TOML file with settings")
    try:
        config: Path | None = parser.parse_args().config
        settings = load(config, os.environ, {}).settings
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    logs.configure(settings)

    async def run() -> None:
        await make(settings, lambda: load(config, os.environ, {}).settings).run()

    try:
        uvloop.run(run())
    except ImcError as error:
        print(f"imc {role}: {error}", file=sys.stderr)
        return 1
    return 0
