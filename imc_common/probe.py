"""``python -I -m imc_common.probe``: the health check of containers.

Exit status: 0 if the process at IMC_STATUS_LISTEN is ready, 1 if not, 2 if the variable is not set. It runs
often, so it imports little. ``imc health`` does the same for people.
"""

from __future__ import annotations

import http.client
import os
import sys

TIMEOUT_SECONDS = 3.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 # if the server listens on all addresses, use this one


def ask(host: str, port: int, path: str) -> tuple[int, str]:
    """Status and text of the response; status 0 if there is none."""
    connection = http.client.HTTPConnection(_ANY.get(host, host), port, timeout=TIMEOUT_SECONDS)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read(1000).decode("utf-8", "replace").strip()
    except (OSError, http.client.HTTPException) as error:
        return 0, f"no response from {host}:{port}: {error}"
    finally:
        connection.close()


def main() -> int:
    """Print the response; returns the exit status."""
    host, _, port = os.environ.get("IMC_STATUS_LISTEN", "").rpartition(":")
    if not port.isdigit():
        print("IMC_STATUS_LISTEN is not set", file=sys.stderr)
        return 2
    status, text = ask(host.strip("[]"), int(port), "/readyz")
    print(text)
    return 0 if status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
