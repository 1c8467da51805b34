"""The source of the client behind trusted proxies, to count what one client does."""

from __future__ import annotations

from ipaddress import ip_address

from imc_common.sip.errors import SipError
from imc_common.sip.message import Request
from imc_common.sip.via import Via
from imc_common.sources import source_of
from imc_edge.identity.trusted_peers import TrustedPeers


def client_source(request: Request, peer: str, trusted: TrustedPeers) -> str:
    """The source (`imc_common.sources`) that a request of ``peer`` came from, before all trusted proxies.

    A trusted proxy says in the Via below its own where it got the request from (RFC 3261 §18.2.1). Without
    that, all users behind a balancer would be one source. It authenticates no user.
    """
    if peer in trusted and request.further_vias:
        try:
            for via in request.vias[1:]:
                peer = _address_of(via) or peer
                if peer not in trusted:
                    break
        except SipError:
            pass  # what is below cannot be read: the proxy itself is the source
    return source_of(peer)


def _address_of(via: Via) -> str:
    """The address in received, or in sent-by; empty if neither is an address."""
    received = dict(via.params).get("received") or via.host
    host = received.strip("[]")
    try:
        ip_address(host)
    except ValueError:
        return ""
    return host
