"""One SIP dialog (RFC 3261 §12) of a room with a device, as Redis keeps it.

No edge keeps a dialog. The edge that gets the first request writes this into its room request. The events of
later requests bring it back, to whichever edge sends them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from imc_common.rooms.request import EntryError
from imc_common.sip.errors import SipError
from imc_common.sip.grammar import token
from imc_common.sip.message import Request, Response
from imc_common.sip.name_addr import NameAddr
from imc_common.sip.tokens import split_commas
from imc_common.sip.uri import Uri

MAX_ROUTES: Final = 16
"""Record-Route values of one dialog: more proxies than any network has between a client and an edge."""
MAX_LENGTH: Final = 512
"""Characters of one value that is kept, at most."""
LIFETIME: Final = "Ephemeral-Life-Time"
MARKS: Final = ("One-To-One-Chat-Room", "End-To-End-Encrypted", "Ephemerable", LIFETIME)
"""Headers by which Linphone marks what a room is like. Its invitees get them as they came."""
_MAX_TAG: Final = 255
_CALL_ID = re.compile(r"[!-~]{1,255}").fullmatch


class Dialog(NamedTuple):
    """Identifiers, remote target and route set of a dialog.

    `routes` are values of Route in the order in which a request has them. `is_list`: it belongs to a
    subscription to several rooms (RFC 4662), which share it. `expires_in` is how long a subscription still
    lasts, in seconds; 0 for a session. `lift` is added to the CSeq numbers of its requests. `cseq` is the
    number of our INVITE that has made it, 0 for one that the device has begun.
    """

    call_id: str
    local_tag: str
    remote_tag: str
    local_uri: str
    remote_uri: str
    target: str
    routes: tuple[str, ...] = ()
    remote_cseq: int = 0
    is_list: bool = False
    expires_in: int = 0
    lift: int = 0
    event_id: str = ""
    cseq: int = 0

    @classmethod
    def of_request(cls, request: Request, local_tag: str, target: Uri, *, trusts_routes: bool) -> Dialog:
        """The dialog that a request begins or goes on with, at its server (RFC 3261 §12.1.1).

        ``target`` is the sender's Contact. ``trusts_routes``: whether the peer may say which way requests
        take. Raises SipError for what could not stand in a request of ours.
        """
        remote_tag = request.from_tag or ""
        if not _CALL_ID(request.call_id) or not _is_tag(remote_tag):
            raise SipError(400, "Unusable Dialog Identifiers")
        return cls(
            call_id=request.call_id,
            local_tag=local_tag,
            remote_tag=remote_tag,
            local_uri=_usable(request.to.uri),
            remote_uri=_usable(request.from_.uri),
            target=_usable(target),
            routes=_route_set(request) if trusts_routes else (),
            remote_cseq=request.cseq.number,
        )

    @classmethod
    def of_response(cls, response: Response, target: Uri) -> Dialog:
        """The dialog that a 2xx to our INVITE has made, at its client (RFC 3261 §12.1.2).

        Raises SipError for what could not stand in a request of ours.
        """
        remote_tag = response.to_tag or ""
        if not _is_tag(remote_tag):
            raise SipError(400, "Unusable Dialog Identifiers")
        return cls(
            call_id=response.call_id,
            local_tag=response.from_tag or "",
            remote_tag=remote_tag,
            local_uri=_usable(response.from_.uri),
            remote_uri=_usable(response.to.uri),
            target=_usable(target),
            routes=tuple(reversed(_route_set(response))),
            cseq=response.cseq.number,
        )

    @classmethod
    def parse(cls, text: str) -> Dialog:
        """What `to_json` has written and scripts have added to. Raises `EntryError`."""
        try:
            known: dict[str, Any] = json.loads(text)
            return cls(
                call_id=str(known["call_id"]),
                local_tag=str(known["local_tag"]),
                remote_tag=str(known["remote_tag"]),
                local_uri=str(known["local_uri"]),
                remote_uri=str(known["remote_uri"]),
                target=str(known["target"]),
                routes=tuple([str(each) for each in known.get("routes") or ()]),
                remote_cseq=int(known.get("remote_cseq") or 0),
                is_list=bool(known.get("list")),
                expires_in=int(known.get("expires_in") or 0),
                lift=int(known.get("lift") or 0),
                event_id=str(known.get("event_id") or ""),
                cseq=int(known.get("cseq") or 0),
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EntryError(f"a dialog cannot be read: {error!r}") from error

    def to_json(self, state: str = "") -> str:
        """The text that Redis keeps. ``state``: how far an INVITE has come."""
        known: dict[str, Any] = {name: getattr(self, name) for name in _TEXTS}
        known |= {"routes": list(self.routes), "cseq": self.cseq, "remote_cseq": self.remote_cseq}
        if self.is_list:
            known["list"] = True
        if self.event_id:
            known["event_id"] = self.event_id
        if state:
            known["state"] = state
        return json.dumps(known, separators=(",", ":"))

    @property
    def scheme(self) -> str:
        """That of our Contact: secure if the client's is (RFC 3261 §8.1.1.8, §12.1.1)."""
        return contact_scheme(self.target)

    @property
    def next_uri(self) -> str:
        """Where its requests go: the first route, else the remote target (RFC 3261 §12.2.1.1)."""
        return str(NameAddr.parse(self.routes[0]).uri) if self.routes else self.target


_TEXTS: Final = ("call_id", "local_tag", "remote_tag", "local_uri", "remote_uri", "target")


def contact_scheme(uri: str) -> str:
    """The scheme of our Contact towards this URI (RFC 3261 §8.1.1.8, §12.1.1)."""
    return "sips" if uri[:5].lower() == "sips:" else "sip"


def contact_of(message: Request | Response) -> NameAddr:
    """The one Contact of a message that makes a dialog (RFC 3261 §8.1.1.8). Raises SipError."""
    lines = message.headers.get_all("Contact")
    values = [value for line in lines for value in split_commas(line)]
    if len(values) != 1 or values[0] == "*":
        raise SipError(400, "Not Exactly One Contact")
    try:
        contact = NameAddr.parse(values[0])
    except ValueError:
        raise SipError(400, "Malformed Contact header") from None
    if not contact.uri.is_sip:
        raise SipError(400, "Contact Is Not A SIP URI")
    return contact


def dialog_ids(request: Request) -> str:
    """What names the dialog of a request that its server gets, as JSON: for requests that change none of it.

    Raises SipError.
    """
    found = {"call_id": request.call_id, "local_tag": request.to_tag, "remote_tag": request.from_tag}
    return json.dumps({name: value or "" for name, value in found.items()}, separators=(",", ":"))


def record_routes(request: Request) -> list[tuple[str, str]]:
    """The headers that a response to a request copies from it, so that both ends know the way (§12.1.1)."""
    return [("Record-Route", value) for value in request.headers.get_all("Record-Route")]


def _route_set(message: Request | Response) -> tuple[str, ...]:
    lines = message.headers.get_all("Record-Route")
    try:
        values: Sequence[str] = [value for line in lines for value in split_commas(line)]
        routes = tuple([f"<{_usable(NameAddr.parse(value).uri)}>" for value in values])
    except ValueError:
        raise SipError(400, "Malformed Record-Route header") from None
    if len(routes) > MAX_ROUTES:
        raise SipError(400, "Too Many Record-Route Values")
    return routes


def _is_tag(text: str) -> bool:
    return len(text) <= _MAX_TAG and bool(token(text))


def _usable(uri: Uri) -> str:
    """The URI as our requests have it. Headers in it would become headers of those (RFC 3261 §19.1.1)."""
    text = str(uri._replace(headers=()))
    if not uri.is_sip or len(text) > MAX_LENGTH:
        raise SipError(400, "Unusable URI For A Dialog")
    return text
