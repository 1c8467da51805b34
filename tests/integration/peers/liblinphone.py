"""A headless user of liblinphone, in a process of its own.

Run as ``python -m tests.integration.peers.liblinphone FOLDER [cpim]``: FOLDER holds `phone.ini`. Orders
come from standard input, events go to FOLDER/events; both are lines of JSON (`Order`, `Event`). A process of
its own, because the library has one global state, reads HOME, and may crash.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import sys
from ctypes import CFUNCTYPE, c_char_p, c_int, c_long, c_void_p
from pathlib import Path
from typing import Any, NotRequired, TypedDict

LIBRARY = "liblinphone.so.10"
TICK = 0.02
"""Seconds between two calls of the library's event loop; its manual asks for 20 ms."""

MESSAGES = 4
"""A level of the library's log that has all SIP messages; for the log file, if LINPHONE_LOG is set."""

_ON_REGISTRATION = CFUNCTYPE(None, c_void_p, c_void_p, c_int, c_char_p)
_ON_MESSAGE = CFUNCTYPE(None, c_void_p, c_void_p, c_void_p)
_REGISTRATIONS = ("none", "progress", "ok", "cleared", "failed", "refreshing")
_SENDINGS = ("idle", "sending", "sent", "failed", "file failed", "file sent", "delivered", "displayed")


class Order(TypedDict):
    """What the test wants: "send" a text to a SIP URI, "read" all from it, "unregister", or "register"."""

    do: str
    to: NotRequired[str]
    text: NotRequired[str]


class Event(TypedDict):
    """What happened: ``kind`` is "registration", "sending" or "received"."""

    kind: str
    state: NotRequired[str]
    peer: NotRequired[str]
    text: NotRequired[str]
    time: NotRequired[int]


class Phone:
    """One user with one account, as `phone.ini` has it. ``cpim`` wraps texts in basic chats in CPIM."""

    def __init__(self, folder: Path, *, cpim: bool = False) -> None:
        self._lib = ctypes.CDLL(LIBRARY)
        self._sending: list[tuple[int, str, str]] = []  # message, its text and the state told last
        self._events = (folder / "events").open("a")  # the library writes log lines to standard output
        place = str(folder)
        if os.environ.get("LINPHONE_LOG"):
            self._call("core_set_log_level", MESSAGES)
        factory = self._pointer("factory_get")
        self._call("factory_set_top_resources_dir", factory, "/usr/share")
        for kind in ("data", "config", "msplugins"):
            self._call(f"factory_set_{kind}_dir", factory, place)
        self._core = self._pointer("factory_create_core_3", factory, f"{place}/phone.ini", None, None)
        callbacks = self._pointer("factory_create_core_cbs", factory)
        # kept as attributes: the library calls them long after this returns
        self._on_registration = _ON_REGISTRATION(self._registration_changed)
        self._on_message = _ON_MESSAGE(self._message_received)
        self._call("core_cbs_set_account_registration_state_changed", callbacks, self._on_registration)
        self._call("core_cbs_set_message_received", callbacks, self._on_message)
        self._call("core_add_callbacks", self._core, callbacks)
        if cpim:  # the library does not read this parameter from phone.ini
            self._change_account("enable_cpim_in_basic_chat_room", 1)
        self._call("core_start", self._core)

    def obey(self, order: Order) -> None:
        """Carry out an order."""
        match order["do"]:
            case "send":
                chat = self._pointer("core_get_chat_room_from_uri", self._core, order["to"])
                message = self._pointer("chat_room_create_message_from_utf8", chat, order["text"])
                self._call("chat_message_send", message)
                self._watch(message, order["text"])
            case "read":
                chat = self._pointer("core_get_chat_room_from_uri", self._core, order["to"])
                self._call("chat_room_mark_as_read", chat)
            case "unregister" | "register" as wish:
                self._change_account("set_register_enabled", int(wish == "register"))

    def iterate(self) -> None:
        """Let the library work, and tell how the texts that were sent do."""
        self._call("core_iterate", self._core)
        for index, (message, text, told) in enumerate(self._sending):
            number = self._number("chat_message_get_state", message)
            state = _SENDINGS[number] if number < len(_SENDINGS) else str(number)
            if state != told:
                self._sending[index] = (message, text, state)
                self._tell({"kind": "sending", "state": state, "text": text})

    def _watch(self, message: int, text: str) -> None:
        """Tell how a text that is being sent does. The library may have the 2xx before the next look."""
        self._sending.append((message, text, "sending"))
        self._tell({"kind": "sending", "state": "sending", "text": text})

    def _change_account(self, setter: str, value: int) -> None:
        account = self._pointer("core_get_default_account", self._core)
        changed = self._pointer("account_params_clone", self._pointer("account_get_params", account))
        self._call(f"account_params_{setter}", changed, value)
        self._call("account_set_params", account, changed)

    def _registration_changed(self, _core: int, _account: int, state: int, _why: bytes) -> None:
        self._tell({"kind": "registration", "state": _REGISTRATIONS[state]})

    def _message_received(self, _core: int, _chat: int, message: int) -> None:
        sender = self._pointer("chat_message_get_from_address", message)
        peer = self._text("address_as_string_uri_only", sender)
        text = self._text("chat_message_get_utf8_text", message)
        time = int(self._function("chat_message_get_time", c_long, (message,)))
        self._tell({"kind": "received", "peer": peer, "text": text, "time": time})

    def _tell(self, event: Event) -> None:
        self._events.write(json.dumps(event) + "\n")
        self._events.flush()

    def _function(self, name: str, result: Any, arguments: tuple[Any, ...]) -> Any:
        function = getattr(self._lib, f"linphone_{name}")
        function.restype = result
        return function(*[_as_c(argument) for argument in arguments])

    def _call(self, name: str, *arguments: Any) -> None:
        self._function(name, None, arguments)

    def _pointer(self, name: str, *arguments: Any) -> int:
        pointer: int | None = self._function(name, c_void_p, arguments)
        if pointer is None:
            raise RuntimeError(f"linphone_{name} returned NULL")
        return pointer

    def _number(self, name: str, *arguments: Any) -> int:
        return int(self._function(name, c_int, arguments))

    def _text(self, name: str, *arguments: Any) -> str:
        return (self._function(name, c_char_p, arguments) or b"").decode()


def _as_c(argument: Any) -> Any:
    if isinstance(argument, str):
        return argument.encode()
    # ctypes passes a plain int as 32 bits: pointers need their type, small numbers do not
    return c_void_p(argument) if isinstance(argument, int) and argument > 0xFFFF else argument


def serve(phone: Phone, lines: int) -> None:
    """Carry out orders from the file descriptor ``lines`` until it ends."""
    buffered = b""
    while True:
        phone.iterate()
        if not select.select([lines], [], [], TICK)[0]:
            continue
        data = os.read(lines, 65536)
        if not data:
            return
        *orders, buffered = (buffered + data).split(b"\n")
        for order in orders:
            phone.obey(json.loads(order))


if __name__ == "__main__":
    where = Path(sys.argv[1])
    os.environ["HOME"] = str(where)
    serve(Phone(where, cpim="cpim" in sys.argv[2:]), sys.stdin.fileno())
