"""The management interface: by hand, with OpenSIPS's own tools, and with `imc mi`."""

from __future__ import annotations

import http.client
import json
import os
import select
import stat
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from opensips import mi as client

from imc_cli.mi_client import MiFailure, MiUnreachable, ask
from imc_common.settings import Settings
from tests.integration.mi.conftest import ALICE, BOB, ROOM, MiService
from tests.patience import PATIENCE
from tests.processes import wait_until

pytestmark = pytest.mark.integration

LISTED = {"ROOMS": [{"URI": ROOM, "MEMBERS": 2, "OWNER": ALICE}]}
MEMBERS = {"ROOM": ROOM, "MEMBERS": [ALICE, BOB], "NO_MEMBERS": 2}


def by_fifo(mi: MiService, request: str, name: str = "reply_fifo") -> str:
    """Make a reply FIFO, write the request and read the reply, as a shell script does."""
    reply = mi.replies / name
    os.mkfifo(reply)
    reader = os.open(reply, os.O_RDONLY | os.O_NONBLOCK)  # opened before the server opens it for writing
    try:
        with mi.fifo.open("w") as fifo:
            fifo.write(request)
        assert select.select([reader], [], [], PATIENCE)[0]
        os.set_blocking(reader, True)
        with os.fdopen(os.dup(reader)) as text:
            return text.read()
    finally:
        os.close(reader)
        reply.unlink()


def by_http(mi: MiService, body: Any, **headers: str) -> tuple[int, str]:
    """Status and text of the response to a POST."""
    connection = http.client.HTTPConnection("127.0.0.1", mi.port, timeout=PATIENCE)
    given = {"Content-Type": "application/json"} | {k.replace("_", "-"): v for k, v in headers.items()}
    connection.request("POST", "/mi", json.dumps(body), given)
    response = connection.getresponse()
    text = response.read().decode()
    connection.close()
    return response.status, text


def test_fifo_speaks_the_plain_text_protocol_of_opensips_1(mi: MiService) -> None:
    """Exactly as OpenSIPS 1.x."""
    assert by_fifo(mi, ":imc_list_rooms:reply_fifo\n\n") == (
        f"200 OK\nROOM::  URI={ROOM} MEMBERS=2 OWNER={ALICE}\n\n"
    )
    assert by_fifo(mi, f":imc_list_members:reply_fifo\n{ROOM}\n\n") == (
        f"200 OK\nROOM:: {ROOM} NR_OF_MEMBERS=2\n\tMEMBER:: {ALICE}\n\tMEMBER:: {BOB}\n\n"
    )
    assert by_fifo(mi, ":get_statistics:reply_fifo\nimc:active_rooms\n\n") == (
        "200 OK\nimc:active_rooms = 1\n\n"
    )
    missing = ":imc_list_members:reply_fifo\nsip:nowhere@example.org\n\n"
    assert by_fifo(mi, missing) == "404 no such room\n\n"
    assert by_fifo(mi, ":reboot:reply_fifo\n\n") == "500 command 'reboot' not available\n"
    assert by_fifo(mi, ":imc_list_members:reply_fifo\n\n") == "500 command 'imc_list_members' failed\n"
    assert by_fifo(mi, ':imc_list_members:reply_fifo\na"b\n\n') == (
        "400 parse error in command 'imc_list_members'\n"
    )


def test_fifo_speaks_json_rpc(mi: MiService) -> None:
    """As OpenSIPS 3, with JSON on one line or on several."""
    request = {"jsonrpc": "2.0", "id": 7, "method": "imc_list_rooms"}
    for text in (json.dumps(request), json.dumps(request, indent=2)):
        reply = json.loads(by_fifo(mi, f":reply_fifo:{text}"))
        assert reply == {"jsonrpc": "2.0", "id": 7, "result": LISTED}


def test_fifo_replies_are_only_written_to_fifos_in_the_reply_folder(mi: MiService, tmp_path: Path) -> None:
    """Not to a name with a path, a symbolic link, a FIFO with a second link, or a regular file."""
    outside = tmp_path / "outside"
    outside.write_text("")
    plain, link = mi.replies / "plain", mi.replies / "link"
    plain.write_text("")
    link.symlink_to(outside)
    twice = mi.replies / "twice"
    os.mkfifo(twice)
    os.link(twice, mi.replies / "other_name")
    reader = os.open(twice, os.O_RDONLY | os.O_NONBLOCK)
    request = '{"jsonrpc":"2.0","id":1,"method":"imc_list_rooms"}'
    with mi.fifo.open("w") as fifo:
        for name in (f"..{outside}", f"../{tmp_path.name}/outside", str(outside), "plain", "link", "twice"):
            fifo.write(f":{name}:{request}")
    assert json.loads(by_fifo(mi, f":reply_fifo:{request}"))["result"] == LISTED
    assert os.read(reader, 10) == b""
    os.close(reader)
    assert (outside.read_text(), plain.read_text()) == ("", "")


def test_the_fifo_is_for_user_and_group(mi: MiService) -> None:
    """Its mode is 0660, as of OpenSIPS's mi_fifo, whatever the umask."""
    assert stat.S_IMODE(mi.fifo.stat().st_mode) == 0o660


def test_http_speaks_json_rpc(mi: MiService) -> None:
    """POST to /mi; the response to a notification has no body."""
    status, text = by_http(mi, {"jsonrpc": "2.0", "id": 1, "method": "imc:list_members", "params": [ROOM]})
    assert (status, json.loads(text)["result"]) == (200, MEMBERS)
    assert by_http(mi, {"jsonrpc": "2.0", "method": "imc_list_rooms"}) == (204, "")


def test_a_web_page_cannot_use_the_operators_browser(mi: MiService) -> None:
    """Neither with the content type of a form nor with a host name that resolves to this machine."""
    assert by_http(mi, {}, Content_Type="text/plain")[0] == 415
    assert by_http(mi, {}, Host="attacker.example")[0] == 403


def test_rooms_are_changed_through_mi(mi: MiService) -> None:
    """Through the same scripts as by users' commands; each change is in the audit log."""
    room = "sip:chat-001@example.org"
    ask(mi.settings, "imc_create_room", {"room": room, "owner": ALICE, "private": "1"})
    ask(mi.settings, "imc_add_member", [room, BOB])
    ask(mi.settings, "imc_set_role", [room, BOB, "owner"])
    assert ask(mi.settings, "imc_kick", [BOB]) == {"USER": BOB, "LEFT": [ROOM, room], "KEPT": []}
    ask(mi.settings, "imc_destroy_room", [room])
    ask(mi.settings, "imc_add_member", [ROOM, BOB])
    with pytest.raises(MiFailure, match="404 no such room"):
        ask(mi.settings, "imc_show_room", [room])
    audit = [line for line in mi.service.workers[0].log().splitlines() if "operator command" in line]
    assert any("imc_kick" in line and '"audit": true' in line for line in audit)


def test_the_opensips_python_package_is_a_client(mi: MiService) -> None:
    """Through FIFO and HTTP."""
    fifo = client.OpenSIPSMI(
        "fifo", fifo_file=str(mi.fifo), fifo_file_fallback=str(mi.fifo), fifo_reply_dir=str(mi.replies)
    )
    for connection in (fifo, client.OpenSIPSMI("http", url=f"http://127.0.0.1:{mi.port}/mi")):
        assert connection.execute("imc_list_rooms") == LISTED
        assert connection.execute("imc:list_members", [ROOM]) == MEMBERS
        assert connection.execute("get_statistics", {"statistics": ["imc:active_rooms"]}) == {
            "imc:active_rooms": 1
        }
        with pytest.raises(client.OpenSIPSMIException, match="404: no such room"):
            connection.execute("imc_list_members", ["sip:nowhere@example.org"])


@pytest.mark.parametrize("way", ["fifo", "http"])
def test_opensips_cli_is_a_client(mi: MiService, way: str) -> None:
    """OpenSIPS's command line tool, unchanged."""
    where = (
        ["-o", f"fifo_file={mi.fifo}", "-o", f"fifo_reply_dir={mi.replies}"]
        if way == "fifo"
        else ["-o", f"url=http://127.0.0.1:{mi.port}/mi"]
    )
    head = [str(Path(sys.executable).with_name("opensips-cli")), "-o", f"communication_type={way}", *where]
    for command, result in (
        (["imc:list_rooms"], LISTED),
        (["imc_list_members", ROOM], MEMBERS),
        (["get_statistics", "imc:active_rooms"], {"imc:active_rooms": 1}),
    ):
        words = [*head, "-x", "mi", *command]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout) == result


@pytest.mark.parametrize("way", ["fifo", "http"])
def test_imc_mi_is_a_client(mi: MiService, way: str) -> None:
    """It prints a table, or JSON with --json; after a failure its exit status is 1."""
    where = (
        ["--mi-fifo", str(mi.fifo), "--mi-reply-dir", str(mi.replies)]
        if way == "fifo"
        else ["--mi-listen", f"127.0.0.1:{mi.port}"]
    )

    def imc(*words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "imc_cli", "mi", *where, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    table = imc("imc_list_rooms").stdout
    assert "1 room " in table
    assert ROOM in table
    assert json.loads(imc("--json", "imc_list_rooms").stdout) == LISTED
    assert "owner" in imc("imc_show_room", f"room={ROOM}").stdout
    assert BOB in imc("imc_list_members", ROOM).stdout
    assert "imc:active_rooms" in imc("get_statistics", "imc:active_rooms").stdout
    assert "imc_kick" in imc("which").stdout
    failed = imc("imc_list_members", "nowhere@example.org")
    assert (failed.returncode, failed.stderr) == (1, "404 no such room\n")


def test_imc_mi_server_serves_mi_beside_the_workers(mi: MiService) -> None:
    """It reports an HTTP port in use and keeps trying; without settings it does not start."""
    env = {**os.environ, "IMC_DB_URL": mi.service.url, "IMC_MI_REPLY_DIR": str(mi.replies)}
    other = mi.replies / "second_fifo"
    command = [sys.executable, "-m", "imc_cli", "mi-server"]
    none = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert (none.returncode, "nothing to serve" in none.stderr) == (2, True)
    with (mi.replies / "log").open("w") as log:
        env |= {"IMC_MI_FIFO": str(other), "IMC_MI_LISTEN": f"127.0.0.1:{mi.port}"}
        server = subprocess.Popen(command, env=env, stderr=log)
    wait_until(other.exists, "a second FIFO")
    settings = Settings(mi_fifo=str(other), mi_reply_dir=mi.replies)
    assert ask(settings, "imc_list_rooms", []) == LISTED
    wait_until(lambda: "cannot listen" in (mi.replies / "log").read_text(), "a line about the port")
    server.terminate()
    assert server.wait(PATIENCE) == 0
    assert not other.exists()


def test_the_server_may_be_another_user(tmp_path: Path) -> None:
    """The client's reply FIFO gets the group of the server's FIFO and mode 0660, whatever the umask."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    if os.getuid() == 0:  # others cannot give their files to a group that they are not in
        os.chown(fifo, -1, 54321)
    requests = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    seen: list[os.stat_result] = []

    def serve() -> None:
        select.select([requests], [], [], PATIENCE)
        name = os.read(requests, 1000).decode().split(":")[1]
        seen.append((tmp_path / name).stat())
        (tmp_path / name).write_text('{"jsonrpc": "2.0", "id": 1, "result": "OK"}')

    server = threading.Thread(target=serve)
    server.start()
    umask = os.umask(0o077)
    try:
        assert ask(Settings(mi_fifo=str(fifo), mi_reply_dir=tmp_path), "which", []) == "OK"
    finally:
        os.umask(umask)
        server.join()
        os.close(requests)
    assert (stat.S_IMODE(seen[0].st_mode), seen[0].st_gid) == (0o660, fifo.stat().st_gid)


def test_a_client_reports_an_unreachable_server(tmp_path: Path) -> None:
    """Without settings, with a closed port, without a FIFO or a reply folder."""
    for settings in (
        Settings(),
        Settings(mi_listen="127.0.0.1:1"),
        Settings(mi_fifo=str(tmp_path / "none"), mi_reply_dir=tmp_path),
        Settings(mi_fifo="x", mi_reply_dir=tmp_path / "none"),
    ):
        with pytest.raises(MiUnreachable):
            ask(settings, "which", [])


def test_long_lists_do_not_block_redis(mi: MiService) -> None:
    """With 2,000 rooms, one with 20,000 members, no command blocks Redis for 5 ms.

    On a busy machine a fast command may take so long once; only a slow one does every time.
    """
    redis = mi.service.redis
    added = redis.pipeline(transaction=False)
    for number in range(2000):
        room = f"many-{number}@example.org"
        added.zadd("imc_rooms:{0}", {room: 0})
        added.hset(f"imc_rooms:{{0}}:{room}", mapping={"private": "0", "owner": "x@h", "created_at": "1"})
        added.hset(f"imc_members:{{0}}:{room}", "x@h", "owner")
    big = {f"user-{number}@example.org": "member" for number in range(20_000)}
    added.hset("imc_members:{0}:many-7@example.org", mapping=big)
    added.execute()
    redis.config_set("slowlog-log-slower-than", 5000)
    try:
        for _ in range(20):
            redis.slowlog_reset()
            rooms = ask(mi.settings, "imc_list_rooms", [])["ROOMS"]
            slow = [entry["command"][:60] for entry in redis.slowlog_get(10)]
            if not slow:
                break
    finally:
        for keys in ("imc_rooms:{0}*", "imc_members:{0}*"):
            for key in list(redis.scan_iter(keys, count=5000)):
                redis.unlink(key)
    assert len(rooms) >= 2000
    assert max(room["MEMBERS"] for room in rooms) == 20_001
    assert slow == []
