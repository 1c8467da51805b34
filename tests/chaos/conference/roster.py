"""A phone's view of who is in a room (RFC 4575), and what must never happen to its versions. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.etree import ElementTree as Xml

_NS = "{urn:ietf:params:xml:ns:conference-info}"


@dataclass(frozen=True, slots=True)
class Entry:
    """A user in a room: the role, and the URIs of the devices."""

    is_admin: bool
    devices: frozenset[str] = frozenset()


@dataclass(slots=True)
class Roster:
    """What a phone knows of one room; it outlives subscriptions, as a phone keeps it over a restart."""

    owner: str
    """The device, for the findings."""
    version: int = 0
    subject: str = ""
    users: dict[str, Entry] = field(default_factory=dict)
    findings: list[str] = field(default_factory=list)
    applied: int = 0
    repeated: int = 0
    has_gap: bool = False
    """Whether a version is missing: the phone has to subscribe again."""
    _seen: dict[int, bytes] = field(default_factory=dict)

    def apply(self, document: bytes, *, is_end: bool = False) -> str:
        """A NOTIFY has come; returns a line about it. ``is_end``: it ends its subscription.

        Each version comes once, or again with the same content, as after the death of an edge. A partial
        document is that of the next version. A full one may follow a version that did not come, because the
        phone was away; it is never older than what the phone knows. There is one exception: a SUBSCRIBE whose
        user was removed meanwhile gets a last NOTIFY, which says no more than that.
        """
        root = Xml.fromstring(document)  # noqa: S314 # of the edges under test
        version, is_full = int(root.get("version", "")), root.get("state", "full") == "full"
        about = f"{version}{' full' if is_full else ''}: {_summary(root)}"
        known = self._seen.get(version)
        if known == document:
            self.repeated += 1
            return f"{about}, again"
        if is_end and not is_full and version <= self.version:
            return f"{about}, the end"
        if known is not None:
            self._find(f"version {version} came with two contents")
        elif version <= self.version:
            self._find(f"went back from version {self.version} to {version}")
        elif not is_full and version != self.version + 1:
            self._find(f"skipped from version {self.version} to {version}")
            self.has_gap = True
        self._seen[version] = document
        if version <= self.version or (self.has_gap and not is_full):
            return f"{about}, not applied to {self.version}"
        self.has_gap = False
        self.version = version
        self.applied += 1
        self._take(root, is_full)
        return about

    def _find(self, what: str) -> None:
        self.findings.append(f"the roster of {self.owner} {what}")

    def _take(self, root: Xml.Element, is_full: bool) -> None:
        subject = root.find(f"{_NS}conference-description/{_NS}subject")
        if is_full:
            self.users = {}
            self.subject = ""
        if subject is not None:
            self.subject = subject.text or ""
        for user in root.iterfind(f"{_NS}users/{_NS}user"):
            name, state = user.get("entity", ""), user.get("state", "full")
            if state == "deleted":
                self.users.pop(name, None)
                continue
            before = self.users.get(name)
            devices = set(before.devices) if before and state == "partial" else set()
            for endpoint in user.iterfind(f"{_NS}endpoint"):
                change = devices.discard if endpoint.get("state") == "deleted" else devices.add
                change(endpoint.get("entity", ""))
            roles = [entry.text for entry in user.iterfind(f"{_NS}roles/{_NS}entry")]
            is_admin = "admin" in roles if roles else bool(before and before.is_admin)
            self.users[name] = Entry(is_admin, frozenset(devices))


def _summary(root: Xml.Element) -> str:
    """The users of a document with their devices, and what is deleted."""
    found = []
    for user in root.iterfind(f"{_NS}users/{_NS}user"):
        devices = [
            f"{_sign(each)}{each.get('entity', '').partition(';')[2]}"
            for each in user.iterfind(f"{_NS}endpoint")
        ]
        found.append(f"{_sign(user)}{user.get('entity', '')}({' '.join(devices)})")
    return " ".join(found)


def _sign(element: Xml.Element) -> str:
    return "-" if element.get("state") == "deleted" else ""
