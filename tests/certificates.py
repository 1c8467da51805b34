"""Certificates of an authority of the test's own, made with the openssl command."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.tools import require

_NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"


def make_authority(folder: Path) -> None:
    """Make ``ca.key`` and ``ca.pem``."""
    _openssl(folder, f"req -x509 {_NEW_KEY} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority")


def make_certificate(folder: Path, name: str, *hosts: str) -> None:
    """Make NAME.key and NAME.pem for IP addresses, signed by the authority of the folder.

    Each address is also there as a DNS name: liblinphone's mbed TLS 2 compares only those.
    """
    names = ",".join(f"IP:{host},DNS:{host}" for host in hosts)
    (folder / f"{name}.names").write_text(f"subjectAltName={names}\n")
    _openssl(folder, f"req {_NEW_KEY} -keyout {name}.key -out {name}.csr -subj /CN={name}")
    signed = f"-req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -extfile {name}.names"
    _openssl(folder, f"x509 {signed} -days 2 -out {name}.pem")


def _openssl(folder: Path, words: str) -> None:
    subprocess.run([require("openssl"), *words.split()], cwd=folder, check=True, capture_output=True)
