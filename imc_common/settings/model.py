"""Every setting: its name, default, limits and the one description of it.

``docs/settings.md`` is made from this class. A setting lands here together with the code that uses it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from imc_common.settings import values


def _allowed(text: str) -> dict[str, Any]:
    """What a setting takes, in words, where its type does not say it."""
    return {"allowed": text}


class Settings(BaseModel):
    """The effective settings of one process; never changed, a reload makes a new one."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Redis
    db_url: values.DbUrl = Field(
        "redis://127.0.0.1:6379/0",
        description="Redis or Valkey that holds rooms and streams.",
        json_schema_extra=_allowed(
            "a URL that starts with " + ", ".join(f"{s}://" for s in values.DB_SCHEMES)
        ),
    )
    rooms_table: values.KeyName = Field(
        "imc_rooms",
        description="Prefix of the keys of rooms.",
        json_schema_extra=_allowed("1 to 64 of letters, digits, _ . : -"),
    )
    members_table: values.KeyName = Field(
        "imc_members",
        description="Prefix of the keys of members.",
        json_schema_extra=_allowed("1 to 64 of letters, digits, _ . : -"),
    )
    hash_size: int = Field(
        4,
        ge=0,
        le=12,
        description="Number of shards, as a power of two: 4 makes 16. The same in every process.",
    )
    durability: Literal["memory", "fsync", "replicas"] = Field(
        "memory",
        description="What a request has reached before it is answered 202: Redis's memory, its disk (WAITAOF)"
        " or its replicas (WAIT).",
    )
    wait_replicas: int = Field(
        1,
        ge=1,
        le=10,
        description="Replicas that must have a request before its 202, with `durability = replicas`. With all"
        " of them, none that lacks it can be promoted, but one that is away stops the service.",
    )

    # Rooms and commands
    imc_cmd_start_char: values.StartChar = Field(
        "#",
        description="Character that starts a command.",
        json_schema_extra=_allowed("one printable ASCII character, no letter, digit or space"),
    )
    create_on_join: bool = Field(True, description="Whether `join` makes a room that is not there.")
    check_on_create: bool = Field(
        False,
        description="Whether `create` of a public room that is there is refused, instead of joining it.",
    )
    owner_exit: Literal["destroy", "refuse"] = Field(
        "destroy", description="What `exit` of a room's last owner does: destroy the room, or be refused."
    )
    domains: values.Domains = Field(
        (),
        description="Served domains; a room of another gets 404. Empty: any.",
        json_schema_extra=_allowed("a list of host names, without ports"),
    )
    room_pattern: values.Pattern = Field(
        "",
        description="Regular expression for the whole user part of a room; others get 404. Empty: any.",
        json_schema_extra=_allowed("a regular expression"),
    )
    manager: values.UserPart = Field(
        "chat-manager",
        description="User part of the address that takes commands and has no room.",
        json_schema_extra=_allowed("the user part of a SIP URI; empty: no such address"),
    )
    sender_prefix: values.Prefix = Field(
        "<{user}@{host}>: ",
        description="Put before every text/plain message to a room; `{host}` with the port if there is one.",
        json_schema_extra=_allowed("text with {user} and {host}; empty: no prefix"),
    )
    max_members: int = Field(500, ge=0, description="Most members of a room, invited ones too. 0: no limit.")
    max_rooms_per_owner: int = Field(
        50, ge=0, description="Most rooms one user may own, at whatever port. 0: no limit."
    )

    # What one user may do, at all edges together; 0: no limit
    max_messages_per_second: float = Field(
        10.0, ge=0, le=100_000, description="Messages of one user per second, in the long run. 0: no limit."
    )
    max_message_burst: int = Field(100, ge=1, description="Messages that one user may send at once.")
    max_commands_per_minute: int = Field(
        120, ge=0, description="Commands of one user per minute, and at once. 0: no limit."
    )
    max_invitations_per_hour: int = Field(
        30, ge=0, description="Invites and adds of one user per hour, and at once. 0: no limit."
    )
    max_invitations_per_target: int = Field(
        3, ge=0, description="Invites and adds of one user that concern one other, per hour. 0: no limit."
    )
    max_deliveries_per_second: float = Field(
        200.0,
        ge=0,
        le=1_000_000,
        description="Deliveries that one user's messages may cause per second, in the long run; ten seconds'"
        " worth at once. 0: no limit.",
    )
    max_total_messages_per_second: float = Field(
        0.0, ge=0, le=1_000_000, description="Messages and commands of all users per second. 0: no limit."
    )

    # SIP, incoming
    listen: values.Endpoints = Field(
        (values.Endpoint("udp", "127.0.0.1", 5060),),
        min_length=1,
        description="Sockets to listen on.",
        json_schema_extra=_allowed("a list of udp|tcp|tls:HOST:PORT"),
    )
    advertise: values.Advertise = Field(
        "",
        description="Address put into Via instead of the socket's own.",
        json_schema_extra=_allowed("HOST or HOST:PORT; empty: the socket's own"),
    )
    share_ports: bool = Field(
        False,
        description="Whether other edges of this machine listen on the same ports (SO_REUSEPORT). Each then"
        " sends over UDP from a port of its own.",
    )
    tls_certificate: str = Field(
        "",
        description="This edge's certificate and those above it; read again on SIGHUP.",
        json_schema_extra=_allowed("the path of a PEM file; empty: none"),
    )
    tls_private_key: str = Field(
        "",
        description="The certificate's private key, if not in the same file.",
        json_schema_extra=_allowed("the path of a PEM file; empty: none"),
    )
    tls_ca: str = Field(
        "",
        description="The authorities that certificates of next hops must come from.",
        json_schema_extra=_allowed("the path of a PEM file; empty: the system's authorities"),
    )
    max_connections: int = Field(
        4096, ge=1, description="Most TCP and TLS connections of one process, in both directions."
    )
    max_connections_per_peer: int = Field(
        64, ge=1, description="Most connections that one IP address may have open to one process."
    )
    max_connections_per_trusted_peer: int = Field(
        1024, ge=1, description="The same of an address in `trusted_peers`, which speaks for many."
    )
    max_requests_per_source: float = Field(
        15.0,
        ge=0,
        le=1_000_000,
        description="Requests of one source address per second, over 2 s, that are looked at; those of"
        " trusted_peers always are. 0: no limit.",
    )
    max_body: int = Field(
        8192, ge=1, le=65535, description="Longest body of a request, in bytes; longer ones get 413."
    )
    accept_types: values.MediaRanges = Field(
        ("text/*", "message/cpim", "message/imdn+xml", "application/im-iscomposing+xml", "multipart/*"),
        description="Content types taken; others get 415. text/plain always is.",
        json_schema_extra=_allowed("a list of TYPE/SUBTYPE, TYPE/* or */*"),
    )
    max_backlog: int = Field(
        100_000,
        ge=0,
        description="Most requests of a shard that wait for a worker; past it senders get 503. 0: no limit.",
    )

    # Who speaks
    identity: Literal["from", "asserted", "digest"] = Field(
        "from",
        description="Who a request is from: From, or P-Asserted-Identity, each only believed of"
        " `trusted_peers`; or From, proved by a password (digest).",
    )
    trusted_peers: values.Networks = Field(
        ("127.0.0.0/8", "::1/128"),
        validate_default=True,
        description="Networks of the proxies and balancers that vouch for who a request is from. Others get"
        " 403, unless `identity = digest`.",
        json_schema_extra=_allowed("a list of IP networks, as 10.0.0.0/8"),
    )
    digest_algorithms: values.DigestAlgorithms = Field(
        ("SHA-512-256", "SHA-256"),
        min_length=1,
        description="Algorithms of digest challenges, offered with the strongest first. MD5 is for clients"
        " that have no other.",
        json_schema_extra=_allowed("a list of " + ", ".join(values.DIGEST_ALGORITHMS)),
    )
    digest_nonce_ttl: float = Field(
        300.0, ge=1, le=86400, description="Seconds for which the nonce of a digest challenge can be used."
    )
    digest_key_file: str = Field(
        "",
        description="File of keys that nonces are signed with: the first line signs, all are good for"
        " checking; read again on SIGHUP. Empty: keys kept in Redis.",
        json_schema_extra=_allowed("a path, of lines of at least 32 characters; empty: none"),
    )
    digest_max_failures: int = Field(
        10,
        ge=0,
        description="Wrong passwords for a user from an address within five minutes; then both together get"
        " 403. 0: any number.",
    )

    # SIP, outgoing
    outbound_proxy: values.ProxyUri = Field(
        "",
        description="Next hop of every delivery. Empty: the recipient's own URI is the destination.",
        json_schema_extra=_allowed("sip:HOST[:PORT][;transport=udp|tcp|tls]"),
    )
    extra_hdrs: values.HeaderLines = Field(
        (),
        description="Header lines added to every delivery.",
        json_schema_extra=_allowed("a list of `Name: value`, none that the service sets itself"),
    )
    delivery_chunk: int = Field(64, ge=1, le=1000, description="Most recipients in one stream entry.")
    credentials: values.Credentials = Field(
        (),
        description="Users and passwords to answer digest challenges with, one for each realm.",
        json_schema_extra=_allowed("a list of USER:PASSWORD@REALM"),
    )
    destination_networks: values.Networks = Field(
        (),
        description="Networks, besides the public internet, that deliveries may go to if there is no"
        " outbound_proxy. `imc up` on loopback addresses lists those itself.",
        json_schema_extra=_allowed("a list of IP networks, as 10.0.0.0/8"),
    )
    destination_networks_denied: values.Networks = Field(
        (),
        description="Networks that no delivery goes to if there is no outbound_proxy.",
        json_schema_extra=_allowed("a list of IP networks, as 203.0.113.0/24"),
    )
    destination_domains: values.Domains = Field(
        (),
        description="Domains, with all below them, that deliveries may go to if there is no outbound_proxy."
        " Empty: any.",
        json_schema_extra=_allowed("a list of host names, without ports"),
    )
    max_in_flight: int = Field(
        2000,
        ge=1,
        description="Most deliveries of one edge that wait for an answer or for their turn; those to"
        " recipients that do not answer count apart.",
    )
    recipient_queue: int = Field(
        1000,
        ge=1,
        description="Most deliveries that wait for one recipient that is slow to answer; what comes on top is"
        " given up.",
    )
    undelivered_max: int = Field(
        10_000,
        ge=0,
        description="Failed deliveries that a shard keeps for inspection, about; the oldest go first.",
    )
    unreachable_ttl: float = Field(
        30.0,
        ge=0,
        description="Seconds for which a recipient that timed out is held off, apart from the others.",
    )
    evict_after: int = Field(
        3, ge=0, description="A member is dropped after so many 404, 410 or 604 in a row. 0: never."
    )

    # Seeing
    status_listen: values.HostPort = Field(
        "",
        description="Where /metrics, /livez and /readyz are served by HTTP. Empty: nowhere.",
        json_schema_extra=_allowed("HOST:PORT; port 0 takes a free one"),
    )

    hep_address: values.HostPort = Field(
        "",
        description="Homer that gets a copy of every SIP message, as HEP3 over UDP. Empty: none.",
        json_schema_extra=_allowed("HOST:PORT"),
    )
    hep_capture_id: int = Field(
        2001, ge=0, le=4294967295, description="Capture agent id in what goes to `hep_address`."
    )
    hep_auth_key: str = Field(
        "",
        description="Authentication key in what goes to `hep_address`.",
        json_schema_extra=_allowed("text; empty: none"),
    )

    # Management interface
    mi_fifo: str = Field(
        "",
        description="FIFO at which a worker or `imc mi-server` takes MI commands. Empty: none.",
        json_schema_extra=_allowed("a path"),
    )
    mi_reply_dir: Path = Field(
        Path("/tmp"),  # noqa: S108 # where OpenSIPS and its clients have them; opened with care
        description="Folder of the FIFOs that MI clients want their replies in.",
    )
    mi_listen: values.HostPort = Field(
        "",
        description="Where a worker or `imc mi-server` takes MI by HTTP, POST to /mi. Empty: nowhere.",
        json_schema_extra=_allowed("HOST:PORT; port 0 takes a free one"),
    )
    mi_token: str = Field(
        "",
        validate_default=True,
        description="What HTTP clients of MI have to send as `Authorization: Bearer TOKEN`."
        " Needed where `mi_listen` is not a loopback address.",
        json_schema_extra=_allowed("printable ASCII without spaces; empty only on loopback"),
    )

    # Processes
    lease_ttl: float = Field(
        3.0, ge=0.3, le=60, description="Seconds after which a silent process loses its shards to others."
    )
    drain_timeout: float = Field(
        32.0,
        ge=0,
        description="Most seconds that a process takes to finish what is in flight when it is stopped.",
    )
    max_attempts: int = Field(
        5,
        ge=3,
        description="A request whose handling fails so many times goes to the dead letters. Fewer than 3"
        " would not tell it from those that were tried beside it.",
    )
    data_dir: Path = Field(Path("var"), description="Folder of the embedded server's data.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least level of log lines."
    )
    log_format: Literal["auto", "json", "people"] = Field(
        "auto", description="Form of log lines; auto: for people at a terminal, else JSON."
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """`true` is 1 to Python, but somebody who writes it for a number meant another setting."""
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError("it is a boolean")
        return value

    @field_validator("mi_token")
    @classmethod
    def _token_where_others_reach_mi(cls, token: str, info: ValidationInfo) -> str:
        """MI changes everything: whoever reaches it from elsewhere has to prove who they are."""
        if not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError("it has other characters")
        listen = info.data.get("mi_listen", "")
        if listen and not token and not values.is_loopback(values.host_and_port(listen)[0]):
            raise ValueError(f"it must be set, because mi_listen {listen} is no loopback address")
        return token

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Keep passwords out of tracebacks and logs."""
        for name, value in super().__repr_args__():
            yield name, values.shown(name, value)
