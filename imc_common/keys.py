"""All Redis keys of imc. No other module builds a key.

All keys of a shard have its number as hash tag, ``{7}``, so a script accesses one slot of a Redis Cluster.
Addresses are used unchanged: a brace in a user part comes after the hash tag, and Redis hashes only the
text between the first pair of braces.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from zlib import crc32

from imc_common.address import without_port

GROUPS = "imc@"
"""Prefix of the names of consumer groups."""
CONSUMER = "owner"

WORKERS = "imc:workers"
EDGES = "imc:edges"
EDGE_ADDRESSES = "imc:edge_addresses"
"""Sorted set of the addresses edges listen on, ``HOST|PORT`` by heartbeat. Deliveries never go there."""
CONFIG = "imc:config"

PRESENCE = "imc:presence"
"""Pub/sub channel of users that came back or left, for all edges (`imc_common.presence`).

Edges also tell there of an ACK whose 200 another one has sent (`imc_edge.receiving.invite_answers`).
"""

DIGEST_KEYS = "imc:digest_keys"
"""Hash of the keys that sign nonces: time of the first use (ms since the epoch) to key."""

WATCHED = "imc:watched"
"""Set of the addresses that `imc trace` follows; ``*rooms`` is added by `imc top`."""
TRACE = "imc:trace"
"""Stream of the steps of watched addresses, capped; it expires a minute after the last step."""
BUSIEST = "imc:busiest"
"""Sorted set of rooms by their number of requests, while `imc top` runs."""
RESHARD_TO = "reshard_to"
"""Field of CONFIG: the target `hash_size` of an unfinished re-sharding."""


def shard_of(room: str, hash_size: int) -> int:
    """The shard of a room or a user: the lowest `hash_size` bits of the CRC-32 of its address."""
    return crc32(room.encode()) & ((1 << hash_size) - 1)


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of rooms, members and history, with the prefixes ``rooms_table``, ``members_table`` and
    ``history_table`` of the settings."""

    rooms_table: str = "imc_rooms"
    members_table: str = "imc_members"
    history_table: str = "imc_history"

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
        """Hash of one room's members: address to role, and what else is known (`imc_common.rooms.roles`)."""
        return f"{self.members_table}:{{{shard}}}:{room}"

    def history(self, shard: int, room: str) -> str:
        """Stream of the messages that a room keeps. `lua/include/keep.lua` describes an entry."""
        return f"{self.history_table}:{{{shard}}}:{room}"


def group(process_id: str) -> str:
    """The consumer group of the streams that this process owns.

    A process that takes over a stream deletes the group of the former owner, so that a late read of that
    process gets no entries.
    """
    return f"{GROUPS}{process_id}"


def requests(shard: int) -> str:
    """The in-stream: requests and delivery reports, from edges to workers."""
    return f"imc:{{{shard}}}:in"


def events(shard: int) -> str:
    """The out-stream: events to deliver, from workers to edges."""
    return f"imc:{{{shard}}}:out"


def dead(shard: int) -> str:
    """Stream of dead letters: entries that could not be handled, with the reason."""
    return f"imc:{{{shard}}}:dead"


def undelivered(shard: int) -> str:
    """Stream of the latest failed deliveries."""
    return f"imc:{{{shard}}}:undelivered"


def seen(shard: int, part: Literal["recent", "older", "clock"]) -> str:
    """Fingerprints of accepted requests (hashes of what identifies them): two sets, and their age.

    `lua/include/duplicates.lua` says why there are two sets and a clock.
    """
    return f"imc:{{{shard}}}:seen:{part}"


def accepting(shard: int) -> tuple[str, str, str, str]:
    """The keys of `accept_many.lua`."""
    return seen(shard, "recent"), seen(shard, "older"), seen(shard, "clock"), requests(shard)


def settled(shard: int, entry: str) -> str:
    """Set of the recipients of a partly delivered event whose delivery has ended."""
    return f"imc:{{{shard}}}:settled:{entry}"


def attempts(shard: int, stream: Literal["in", "out"], entry: str) -> str:
    """Counter of the attempts for a failing entry. Entry ids are unique only within their stream."""
    return f"imc:{{{shard}}}:attempts:{stream}:{entry}"


def private_rooms(shard: int, user: str) -> str:
    """Set of the private rooms of this shard that the user is in."""
    return f"imc:{{{shard}}}:private_rooms:{user}"


def owned_rooms(shard: int, user: str) -> str:
    """Set of the rooms of this shard that the user owns. The port is ignored: proxies rarely check it in
    From."""
    return f"imc:{{{shard}}}:owned_rooms:{without_port(user)}"


def away_rooms(shard: int, user: str) -> str:
    """Set of the rooms of this shard in which the user is away, and of some that it has left since."""
    return f"imc:{{{shard}}}:away_rooms:{user}"


def farewells(shard: int, user: str) -> str:
    """Hash with a TTL: ``ROOM DEVICE`` to the dialog that the device has to be told has ended.

    `lua/include/farewells.lua` makes it. `imc reshard` leaves it where it is: the room may be gone. In a
    shard that there is no more, nobody sends it, and it expires.
    """
    return f"imc:{{{shard}}}:farewells:{user}"


def forgotten(shard: int, user: str) -> str:
    """String with a TTL: the user's data was deleted a moment ago (`lua/include/forgotten.lua`)."""
    return f"imc:{{{shard}}}:forgotten:{user}"


def probes(shard: int) -> str:
    """Sorted set of the users who are away: when the next probe is due, in ms of Redis's clock."""
    return f"imc:{{{shard}}}:probes"


def probe_waits(shard: int) -> str:
    """Hash of these users: ms between the latest two probes; odd if the latest one was no message."""
    return f"imc:{{{shard}}}:probe_waits"


def history_off(shard: int) -> str:
    """Set of the shard's rooms whose owners want no history."""
    return f"imc:{{{shard}}}:history_off"


def expiring(shard: int, room: str) -> str:
    """Sorted set of the messages in the room's history that will expire: ids by their time, in ms."""
    return f"imc:{{{shard}}}:expiring:{room}"


def devices(shard: int, room: str) -> str:
    """Hash of the devices in the room (`imc_common.devices`): device address to ``device`` or ``device
    away``."""
    return f"imc_devices:{{{shard}}}:{room}"


def roster(shard: int, room: str) -> str:
    """Sorted set of the room's users, and ``*subject``, by the number of their last change.

    `lua/include/roster.lua` says what else it has. It exists only in rooms with devices.
    """
    return f"imc_roster:{{{shard}}}:{room}"


def opening(shard: int, room: str) -> str:
    """String with a TTL: a digest of the user whose request to make this room waits for a worker."""
    return f"imc:{{{shard}}}:opening:{room}"


def sequence(shard: int, dialog: str) -> str:
    """String with a TTL: the highest CSeq of a client in this dialog. Any shard may have it."""
    return f"imc:{{{shard}}}:cseq:{dialog}"


def limit_notice(shard: int, limit: str, user: str) -> str:
    """String with a TTL: the user was told recently that it exceeded this limit."""
    return f"imc:{{{shard}}}:limit_notice:{limit}:{user}"


def budget(shard: int, kind: str, user: str) -> str:
    """Hash with a TTL: what is left of a user's rate limit of one kind.

    The shard is that of the user, so that all edges count in one place for all rooms.
    """
    return f"imc:{{{shard}}}:budget:{kind}:{user}"


def typing(shard: int, room: str, user: str) -> str:
    """String with a TTL: the user's typing notification was sent to the members of the room recently."""
    return f"imc:{{{shard}}}:typing:{room}:{user}"


def authors(shard: int, room: str, part: Literal["recent", "older"]) -> str:
    """Hash with a TTL: Message-ID to author, of the latest messages that ask for receipts.

    `lua/include/authors.lua` says why there are two of them. `imc reshard` leaves them behind.
    """
    return f"{authors_prefix(shard)}{room}:{part}"


def authors_prefix(shard: int) -> str:
    """What the keys of `authors` of a shard begin with."""
    return f"imc:{{{shard}}}:authors:"


def receipts(shard: int, room: str, part: Literal["recent", "older"]) -> str:
    """Hash with a TTL: which receipts authors got from members with several devices.

    `lua/include/receipts.lua` says what it holds. `imc reshard` leaves them behind.
    """
    return f"imc:{{{shard}}}:receipts:{room}:{part}"


def lease(shard: int, role: str) -> str:
    """String with a TTL: the process that owns this stream of the shard, by role."""
    return f"imc:{{{shard}}}:lease:{role}"


USER_SHARDS = 16
"""Users are distributed by their address, independently of `hash_size`: re-sharding does not move them."""


def user_shard(address: str) -> str:
    """The hash tag of the keys of a user with a password."""
    return f"u{crc32(address.encode()) % USER_SHARDS}"


def users(tag: str) -> str:
    """Hash of users with passwords: address to password hashes (`imc_common.users`)."""
    return f"imc:{{{tag}}}:users"


def failures(tag: str, digest: str) -> str:
    """Counter with a TTL: wrong passwords for a user from one source, from all sources, or with one nonce."""
    return f"imc:{{{tag}}}:failures:{digest}"


def turn(failures: str) -> str:
    """String with a TTL: an attempt was made recently, past the limit of this counter of failures."""
    return f"{failures}:turn"


def known_source(tag: str, digest: str) -> str:
    """String with a TTL: a user was authenticated from this source."""
    return f"imc:{{{tag}}}:known_source:{digest}"


def nonce_use(tag: str, digest: str) -> str:
    """String with a TTL: the request that used this nonce and nonce count of a user."""
    return f"imc:{{{tag}}}:nonce:{digest}"


def away_shards(user: str) -> str:
    """Set of the shards in which this user may be away in some room. It may name more than there are."""
    return f"imc:{{{user_shard(user)}}}:away:{user}"


def client_devices(tag: str, user: str) -> str:
    """Hash with a TTL: the devices of a user that show rooms as group chats, as their REGISTERs say.

    `imc_common.client_devices` says what it holds.
    """
    return f"imc:{{{tag}}}:devices:{user}"
