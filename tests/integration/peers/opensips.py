"""The platform of ``telephony`` with OpenSIPS as its proxy and registrar: ``deploy/opensips``.

OPENSIPS names the program. Its modules and the SQL files of its tables are found from there.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

from opensips import mi

from tests.integration.migration.databases import execute
from tests.integration.peers.telephony import Platform
from tests.processes import ROOT
from tests.tools import absent

FILES = ROOT / "deploy" / "opensips"


@cache
def program() -> Path:
    """The program that OPENSIPS names."""
    found = shutil.which(os.environ.get("OPENSIPS", "opensips"))
    return Path(found).resolve() if found else absent("OPENSIPS does not name a program")


def _part(*patterns: str) -> Path:
    """A folder of the installation."""
    prefix = program().parents[1]
    found = [path for pattern in patterns for path in prefix.glob(pattern)]
    return found[0] if found else absent(f"{prefix}/{patterns[0]} is not there")


def create_opensips_tables(url: str, *names: str) -> None:
    """Create tables in a MariaDB by the SQL files of OpenSIPS, such as "imc"."""
    for name in names:
        text = (_part("share/opensips/mysql") / f"{name}-create.sql").read_text()
        execute(url, *[part for part in text.split(";\n") if part.strip()])


class OpenSipsPlatform(Platform):
    """A proxy with one of the configurations, its database, and imc beside it."""

    files: ClassVar = FILES
    names: ClassVar = ("before.cfg", "after.cfg", "dispatcher.sql")

    @staticmethod
    def require_programs() -> None:
        program()

    @staticmethod
    def create_tables(database: str) -> None:
        create_opensips_tables(database, "standard", "auth_db", "usrloc", "imc", "dispatcher")

    def places(self) -> list[tuple[str, str]]:
        return [
            ("mysql://opensips:opensipsrw@localhost/opensips", self.database),
            (
                "/usr/lib/x86_64-linux-gnu/opensips/modules",
                str(_part("lib*/opensips/modules", "lib/*/opensips/modules")),
            ),
            ("/run/opensips/", f"{self.folder}/"),
        ]

    def start_proxy(self, configuration: str, *defines: str) -> None:
        """Start OpenSIPS, which must find no fault in the configuration, with the edges in its table."""
        assert not defines, "only Kamailio has them"
        config = [str(program()), "-f", f"{self.folder}/{configuration}"]
        checked = subprocess.run([*config, "-C"], capture_output=True, text=True, timeout=60, check=False)
        assert checked.returncode == 0, checked.stderr
        self.proxy.command = [*config, "-F", "-m", "64", "-M", "8", "-w", str(self.folder)]
        self.run_proxy()

    def start_imc(self) -> None:
        execute(self.database, "DELETE FROM dispatcher", (self.folder / "dispatcher.sql").read_text())
        super().start_imc()

    def edges_in_service(self) -> int:
        [partition] = self.ask("ds_list")["PARTITIONS"]
        [edges] = partition["SETS"]
        return sum(edge["state"] == "Active" for edge in edges["Destinations"])

    def ask(self, command: str) -> dict[str, Any]:
        """The result of a command of the proxy's management interface."""
        fifo = str(self.folder / "opensips_fifo")
        client = mi.OpenSIPSMI("fifo", fifo_file=fifo, fifo_file_fallback=fifo, fifo_reply_dir="/tmp")  # noqa: S108 # the default of mi_fifo
        result: dict[str, Any] = client.execute(command)
        return result
