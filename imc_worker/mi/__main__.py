"""``python -P -m imc_worker.mi [--config FILE]``: MI as a process of its own, beside the workers."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from pathlib import Path

from imc_common import logs
from imc_common.errors import ImcError
from imc_common.settings import Settings, SettingsError, load
from imc_common.store import Store
from imc_common.store.config_watch import ConfigWatch
from imc_worker.mi.server import MiServer


def main() -> int:
    """Serve until told to stop; returns the exit status: 2 for wrong settings."""
    parser = argparse.ArgumentParser(prog="python -P -m imc_worker.mi", description=__doc__)
    parser.add_argument("--config", type=Path, help="TOML file with settings")
    try:
        settings = load(parser.parse_args().config, os.environ, {}).settings
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 2
    if not settings.mi_fifo and not settings.mi_listen:
        print("neither mi_fifo nor mi_listen is set: there is nothing to serve", file=sys.stderr)
        return 2
    logs.configure(settings)
    try:
        asyncio.run(serve(settings))
    except ImcError as error:
        print(f"imc mi-server: {error}", file=sys.stderr)
        return 1
    return 0


async def serve(settings: Settings) -> None:
    """Serve MI until SIGTERM or SIGINT. Raises StoreUnreachable, StoreRefused and UrlError."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # `imc mi-server` blocks it for the start
    store = await Store.connect(settings)
    watch = ConfigWatch(store, settings.hash_size, store.secret)
    serving, watching = loop.create_task(MiServer(store, settings).run()), loop.create_task(watch.run())
    stopping = loop.create_task(stop.wait())
    await asyncio.wait([stopping, watching], return_when=asyncio.FIRST_COMPLETED)
    is_refused = watching.done()
    for task in (serving, watching, stopping):
        task.cancel()
    await asyncio.wait([serving, watching, stopping])
    await store.close()
    if is_refused:
        watching.result()


if __name__ == "__main__":
    sys.exit(main())
