"""What a NOTIFY of a list subscription contains (RFC 4662): ``application/rlmi+xml``.

It names each resource and the part of the multipart body that has its state.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from imc_common.bodies.errors import BodyError
from imc_common.bodies.xml import elements_of, quoted

_NAMESPACE: Final = "urn:ietf:params:xml:ns:rlmi"
_MAX_ELEMENTS: Final = 4096


class Resource(NamedTuple):
    """One resource, and the Content-ID of the part with its state.

    A resource without `content_id` has no part. RFC 4662 §5.5: a subscription that has ended has a `reason`.
    """

    uri: str
    content_id: str = ""
    state: str = "active"
    reason: str = ""


class Rlmi(NamedTuple):
    """A list of resources. `version` counts the NOTIFYs of the subscription, from 0 on (RFC 4662 §5.2)."""

    uri: str
    resources: tuple[Resource, ...]
    version: int = 0
    is_full: bool = True

    @classmethod
    def parse(cls, document: bytes) -> Rlmi:
        """Raises `BodyError`. Only clients read such documents: tests do so for them."""
        elements = elements_of(document, _MAX_ELEMENTS)
        root = elements[-1]  # the root ends last
        version = root.attributes.get("version", "")
        if (root.namespace, root.name) != (_NAMESPACE, "list") or not version.isdigit():
            raise BodyError("Not An RLMI Document")
        resources = []
        content_id, state, reason = "", "", ""
        for each in elements:  # a resource ends after its instance
            given = each.attributes
            if each.name == "instance":
                content_id, state, reason = (given.get(key, "") for key in ("cid", "state", "reason"))
            elif each.name == "resource":
                resources.append(Resource(given.get("uri", ""), content_id, state, reason))
        return cls(
            root.attributes.get("uri", ""),
            tuple(resources),
            int(version),
            root.attributes.get("fullState") == "true",
        )

    def to_bytes(self) -> bytes:
        """The document in UTF-8."""
        resources = "".join([_resource(number, each) for number, each in enumerate(self.resources)])
        return (
            f'<?xml version="1.0" encoding="UTF-8"?><list xmlns="{_NAMESPACE}" uri="{quoted(self.uri)}" '
            f'version="{self.version}" fullState="{str(self.is_full).lower()}">{resources}</list>'
        ).encode()


def _resource(number: int, resource: Resource) -> str:
    # RFC 4662 §5.5 finds the part by `cid`, liblinphone 5.1 by `id`, as Content-ID has it: so all are equal.
    instance = quoted(resource.content_id) or str(number)
    content = f' cid="{instance}"' if resource.content_id else ""
    reason = f' reason="{quoted(resource.reason)}"' if resource.reason else ""
    return (
        f'<resource uri="{quoted(resource.uri)}">'
        f'<instance id="{instance}" state="{quoted(resource.state)}"{reason}{content}/></resource>'
    )
