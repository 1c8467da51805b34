"""Debian's MariaDB with its defaults and the tables of Kamailio's imc and msilo modules, on loopback."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import time
from pathlib import Path

TABLES = Path("/usr/share/kamailio/mysql")
MODULES = ("standard", "imc", "msilo")
START_SECONDS = 60.0


class MariaDb:
    """A server of its own in a folder; `url` is that of its database, as Kamailio takes it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.url = f"mysql://imc:secret@127.0.0.1:{port}/imc"
        self._folder = folder
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """Of the running server."""
        if self._process is None:
            raise RuntimeError("MariaDB does not run")
        return self._process.pid

    def start(self) -> None:
        """Start it and create the tables. Raises `TimeoutError` and `subprocess.CalledProcessError`."""
        user = self._as_mysql()
        # A server that starts removes all temporary tables from its folder for them, also another server's.
        data = ["--no-defaults", f"--datadir={self._folder}/data", f"--tmpdir={self._folder}"]
        install = [*user, "mariadb-install-db", *data, "--auth-root-authentication-method=normal"]
        subprocess.run(install, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        statements = ["CREATE DATABASE imc", "GRANT ALL ON imc.* TO imc@localhost IDENTIFIED BY 'secret'"]
        grant = self._folder / "grant.sql"
        grant.write_text("".join(f"{statement};\n" for statement in statements))
        grant.chmod(0o644)
        where = [f"--socket={self._socket}", f"--pid-file={self._folder}/pid", f"--port={self._port}"]
        command = [*user, "mariadbd", *data, *where, "--bind-address=127.0.0.1", f"--init-file={grant}"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self._wait()
        for module in MODULES:
            tables = (TABLES / f"{module}-create.sql").read_text()
            subprocess.run(self._client(), input=tables, text=True, check=True)

    def stop(self) -> None:
        """Stop it; its folder is the caller's."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def _socket(self) -> Path:
        return self._folder / "s"

    def _client(self) -> list[str]:
        return ["mariadb", "--no-defaults", f"--socket={self._socket}", "-uimc", "-psecret", "imc"]

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            done = subprocess.run([*self._client(), "-e", "SELECT 1"], capture_output=True, check=False)
            if done.returncode == 0:
                return
            time.sleep(0.2)
        raise TimeoutError("MariaDB does not respond")

    def _as_mysql(self) -> list[str]:
        """The words before a command that run it as its own user when we are root: it refuses to be root."""
        self._folder.chmod(0o755)
        if os.geteuid() != 0:
            return []
        group = pwd.getpwnam("mysql").pw_gid
        shutil.chown(self._folder, "mysql", group)
        return ["setpriv", "--reuid", "mysql", "--regid", str(group), "--clear-groups", "--"]
