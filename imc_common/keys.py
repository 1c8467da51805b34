"""Every Redis key of imc, made here and nowhere else.

All keys of a shard carry its number as hash tag, ``{7}``: one script touches one slot, and Redis Cluster
works unchanged. Addresses go in as they are: a brace in a user part comes after the tag and cannot move the
key, because Redis hashes only what stands between the first pair of braces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from zlib import crc32

from imc_common.address import without_port

GROUPS = "imc@"
"""What the names of our consumer groups begin with."""
CONSUMER = "owner"

WORKERS = "imc:workers"
EDGES = "imc:edges"
EDGE_ADDRESSES = "imc:edge_addresses"
"""Sorted set of where edges listen, ``HOST|PORT`` by heartbeat: no delivery goes there."""
CONFIG = "imc:config"

DIGEST_KEYS = "imc:digest_keys"
"""Hash of the keys that nonces are signed with: ms since the epoch of the first use, to the key."""

WATCHED = "imc:watched"
"""Set of the addresses that `imc trace` follows now; ``*rooms`` is asked for by `imc top`."""
TRACE = "imc:trace"
"""Stream of the watched addresses' steps, capped, gone a minute after the last one."""
BUSIEST = "imc:busiest"
"""Sorted set of rooms by requests, while `imc top` runs."""
RESHARD_TO = "reshard_to"
"""Field of CONFIG: the `hash_size` of a re-sharding that was begun and is not finished."""


def shard_of(room: str, hash_size: int) -> int:
    """The shard of a room (or a user) by its address: CRC-32 of it, cut to ``2**hash_size`` shards."""
    return crc32(room.encode()) & ((1 << hash_size) - 1)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of rooms and members, whose prefixes are settings (``rooms_table``, ``members_table``)."""

    rooms_table: str = "imc_rooms"
    members_table: str = "imc_members"

    def rooms(self, shard: int) -> str:
        """Sorted set of the shard's rooms; score 0 public, 1 private."""
        return f"{self.rooms_table}:{{{shard}}}"

    def room(self, shard: int, room: str) -> str:
        """Hash of one room: ``private``, ``owner``, ``created_at``, and state of a user as ``KIND:USER``.

        `lua/include/member_state.lua` lists the kinds. All of this hash is deleted, copied and moved with the
        room.
        """
        return f"{self.rooms_table}:{{{shard}}}:{room}"

    def members(self, shard: int, room: str) -> str:
        """Hash of one room's members: address to role."""
        return f"{self.members_table}:{{{shard}}}:{room}"


def group(process_id: str) -> str:
    """The consumer group of the streams that this process owns.

    Whoever takes a stream over ends its former owner's group: a read which that one has still in the air, or
    sends late, takes nothing away from its successor.
    """
    return f"{GROUPS}{process_id}"


def requests(shard: int) -> str:
    """Stream of requests and receipts, edge to worker."""
    return f"imc:{{{shard}}}:in"


def events(shard: int) -> str:
    """Stream of events to deliver, worker to edge."""
    return f"imc:{{{shard}}}:out"


def dead(shard: int) -> str:
    """Stream of what could not be handled, with the reason."""
    return f"imc:{{{shard}}}:dead"


def undelivered(shard: int) -> str:
    """Stream of deliveries that ended in a failure, the latest ones."""
    return f"imc:{{{shard}}}:undelivered"


def seen(shard: int, part: Literal["recent", "older", "clock"]) -> str:
    """Requests that were taken already, by a hash of Call-ID, CSeq and From tag: two sets, and since when.

    `lua/include/accept.lua` says why there are two, and a clock.
    """
    return f"imc:{{{shard}}}:seen:{part}"


def accepting(shard: int) -> tuple[str, str, str, str]:
    """The keys of `accept.lua` and `accept_many.lua`."""
    return seen(shard, "recent"), seen(shard, "older"), seen(shard, "clock"), requests(shard)


def settled(shard: int, entry: str) -> str:
    """Set of the recipients of a half-delivered event that already answered."""
    return f"imc:{{{shard}}}:settled:{entry}"


def attempts(shard: int, stream: Literal["in", "out"], entry: str) -> str:
    """Counter of how often a failing entry of the stream was tried; ids are unique within a stream only."""
    return f"imc:{{{shard}}}:attempts:{stream}:{entry}"


def private_rooms(shard: int, user: str) -> str:
    """Set of the shard's private rooms this user is in."""
    return f"imc:{{{shard}}}:private_rooms:{user}"


def owned_rooms(shard: int, user: str) -> str:
    """Set of the shard's rooms this user owns, at whatever port: proxies seldom look at that of a From."""
    return f"imc:{{{shard}}}:owned_rooms:{without_port(user)}"


def limit_notice(shard: int, limit: str, user: str) -> str:
    """String with a time-to-live: this user was told lately that the limit is exceeded."""
    return f"imc:{{{shard}}}:limit_notice:{limit}:{user}"


def budget(shard: int, kind: str, user: str) -> str:
    """Hash with a time-to-live: what is left of how often this user may do things of one kind.

    The shard is the user's own, whatever rooms it speaks to: all edges count in one place.
    """
    return f"imc:{{{shard}}}:budget:{kind}:{user}"


def lease(shard: int, role: str) -> str:
    """String with a time-to-live: the process (by role) that owns the shard's stream."""
    return f"imc:{{{shard}}}:lease:{role}"


USER_SHARDS = 16
"""Users are spread by their own address, whatever `hash_size` is: they stay when rooms move."""


def user_shard(address: str) -> str:
    """The hash tag of what is kept of a user who proves who they are by a password."""
    return f"u{crc32(address.encode()) % USER_SHARDS}"


def users(tag: str) -> str:
    """Hash of users: address to the hashes of its password (`imc_common.users`)."""
    return f"imc:{{{tag}}}:users"


def failures(tag: str, digest: str) -> str:
    """Counter with a time-to-live: wrong passwords for a user from one source address."""
    return f"imc:{{{tag}}}:failures:{digest}"


def nonce_use(tag: str, digest: str) -> str:
    """String with a time-to-live: the request that has used up a user's nonce and nonce count."""
    return f"imc:{{{tag}}}:nonce:{digest}"
