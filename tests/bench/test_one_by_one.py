"""The preloaded library with which an edge cannot send many datagrams in one system call."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import load
from tests.tools import require

pytestmark = pytest.mark.integration

SENDS = """
import socket
from imc_edge.transports.segmentation import Segmentation
with socket.socket(type=socket.SOCK_DGRAM) as there, socket.socket(type=socket.SOCK_DGRAM) as here:
    there.bind(("127.0.0.1", 0))
    sending = Segmentation(here)
    print(sending.send([b"one", b"two"], there.getsockname()), sending.works)
    here.sendmsg([b"three"], [], 0, there.getsockname())
    print(there.recv(100).decode())
"""


@pytest.mark.parametrize(("is_there", "seen"), [(False, "2 True\none\n"), (True, "0 False\nthree\n")])
def test_the_library_makes_each_datagram_a_system_call(tmp_path: Path, is_there: bool, seen: str) -> None:
    """As on a kernel without UDP_SEGMENT. Other calls are not affected."""
    require("gcc")
    preloaded = {"LD_PRELOAD": str(load.build_one_by_one(tmp_path))} if is_there else {}
    ran = subprocess.run(
        [sys.executable, "-c", SENDS], env=os.environ | preloaded, capture_output=True, text=True, check=True
    )
    assert ran.stdout == seen
