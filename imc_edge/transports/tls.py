"""TLS contexts made from certificate files (RFC 3261 §26.3.1, RFC 5922); the files can be read again."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from imc_common.errors import ImcError


class TlsFilesError(ImcError):
    """A certificate, key or CA file cannot be used; names the file's setting and the reason."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files; None: not set."""

    certificate: Path | None = None
    private_key: Path | None = None
    ca: Path | None = None
    """Authorities trusted for outgoing connections; None: the system's."""


class Tls:
    """The contexts of new connections; open ones keep theirs."""

    def __init__(self, files: TlsFiles) -> None:
        """Read the files. Raises `TlsFilesError`."""
        self._files = files
        self.server: ssl.SSLContext | None = None
        """None without a certificate."""
        self.client: ssl.SSLContext = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self.reload()

    def reload(self) -> None:
        """Read the files again. If it raises `TlsFilesError`, the contexts stay as they were."""
        server = _server_context(self._files) if self._files.certificate else None
        self.client = _client_context(self._files)
        self.server = server


def _server_context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    _load_certificate(context, files)
    return context


def _client_context(files: TlsFiles) -> ssl.SSLContext:
    """Verifies chain and name; presents our own certificate to peers that ask (RFC 5922 §7.4)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        if files.ca:
            context.load_verify_locations(cafile=files.ca)
        else:
            context.load_default_certs()
    except (OSError, ssl.SSLError) as error:
        raise TlsFilesError(f"tls_ca {files.ca}: {error}") from error
    if files.certificate:
        _load_certificate(context, files)
    return context


def _load_certificate(context: ssl.SSLContext, files: TlsFiles) -> None:
    if files.certificate is None:
        return
    try:
        context.load_cert_chain(files.certificate, files.private_key)
    except (OSError, ssl.SSLError) as error:
        given = f"tls_certificate {files.certificate}"
        if files.private_key:
            given += f", tls_private_key {files.private_key}"
        raise TlsFilesError(f"{given}: {error}") from error
