"""Fixtures of the edge's tests: certificates made with the openssl command."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from imc_edge.transports.tls import TlsFiles


def make_certificate(folder: Path, name: str) -> TlsFiles:
    """A self-signed certificate for localhost and 127.0.0.1, which is its own authority."""
    key, certificate = folder / f"{name}.key", folder / f"{name}.pem"
    request = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"]
    curve = ["-pkeyopt", "ec_paramgen_curve:prime256v1"]
    names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*request, *curve, *names, *files], check=True, capture_output=True)
    return TlsFiles(certificate, key, certificate)


@pytest.fixture(scope="session")
def tls_files(tmp_path_factory: pytest.TempPathFactory) -> TlsFiles:
    """One certificate for all tests."""
    return make_certificate(tmp_path_factory.mktemp("tls"), "edge")
