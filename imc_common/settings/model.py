"""Every setting: its name, default, limits and the one description of it.

``docs/settings.md``, ``imc COMMAND --help`` and the list of what SIGHUP changes (`imc_common.reload`) are
made from this class. A setting is added together with the code that uses it.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

from imc_common.settings import values


def _about(allowed: str = "", *, reload: Literal["edge", "worker", "both", ""] = "") -> dict[str, Any]:
    """What ``docs/settings.md`` says about a setting besides its default and description.

    ``allowed``: the accepted values in words; empty: its type and limits say it. ``reload``: the processes
    that apply a change on SIGHUP; empty: they need a restart.
    """
    return {"allowed": allowed, "reload": reload}


class Settings(BaseModel):
    """The effective settings of one process. They never change: a reload makes a new object."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    # Redis
    db_url: values.DbUrl = Field(
        "redis://127.0.0.1:6379/0",
        description="Redis or Valkey server that stores rooms and streams.",
        json_schema_extra=_about(
            "a URL that starts with " + ", ".join(f"{scheme}://" for scheme in values.DB_SCHEMES)
        ),
    )
    rooms_table: values.KeyName = Field(
        "imc_rooms",
        description="Prefix of the Redis keys of rooms.",
        json_schema_extra=_about("1 to 64 of letters, digits, _ . : -"),
    )
    members_table: values.KeyName = Field(
        "imc_members",
        description="Prefix of the Redis keys of room members.",
        json_schema_extra=_about("1 to 64 of letters, digits, _ . : -"),
    )
    history_table: values.KeyName = Field(
        "imc_history",
        description="Prefix of the Redis keys of what rooms keep.",
        json_schema_extra=_about("1 to 64 of letters, digits, _ . : -"),
    )
    hash_size: int = Field(
        4,
        ge=0,
        le=12,
        description="Number of shards as a power of two: 4 means 16 shards. Must be the same in every"
        " process. `imc reshard` changes it.",
    )
    durability: Literal["memory", "fsync", "replicas"] = Field(
        "memory",
        description="Where a request must be stored before it gets 202: in Redis's memory,"
        " on its disk (WAITAOF), or on its replicas (WAIT).",
    )
    wait_replicas: int = Field(
        1,
        ge=1,
        le=10,
        description="Number of replicas that must have a request before its 202, with `durability ="
        " replicas`. If that is all of them, a replica without the request is never promoted, but one"
        " unreachable replica stops the service.",
    )

    # Rooms and commands
    imc_cmd_start_char: values.StartChar = Field(
        "#",
        description="Character that starts a command.",
        json_schema_extra=_about(
            "one printable ASCII character that is no letter, digit or space", reload="edge"
        ),
    )
    create_on_join: bool = Field(
        True,
        description="Whether `join` creates a room that does not exist.",
        json_schema_extra=_about(reload="worker"),
    )
    check_on_create: bool = Field(
        False,
        description="Whether `create` is refused if the public room exists. Otherwise the user joins"
        " the room.",
        json_schema_extra=_about(reload="worker"),
    )
    owner_exit: Literal["confirm", "destroy", "refuse"] = Field(
        "confirm",
        description="What `exit` does for the last owner of a room: destroy the room after `exit confirm`,"
        " destroy it at once, or refuse the command. An owner who is alone need not confirm.",
        json_schema_extra=_about(reload="worker"),
    )
    announce_joins: bool = Field(
        True,
        description="Whether all members are told when a user joins or leaves. Otherwise only that user is"
        " told. Owners and admins can change it for their room with `announce`.",
        json_schema_extra=_about(reload="worker"),
    )
    domains: values.Domains = Field(
        (),
        description="Domains that may have rooms. A room in another domain gets 404. Empty: any domain.",
        json_schema_extra=_about("a list of host names, without ports", reload="edge"),
    )
    room_pattern: values.Pattern = Field(
        "",
        description="Regular expression that the whole user part of a room address must match. Other"
        " rooms get 404. Empty: any room.",
        json_schema_extra=_about("a regular expression", reload="edge"),
    )
    manager: values.UserPart = Field(
        "chat-manager",
        description="User part of the address that accepts commands but is not a room.",
        json_schema_extra=_about("the user part of a SIP URI; empty: no such address", reload="edge"),
    )
    conference_factory: values.UserPart = Field(
        "conference-factory",
        description="User part of the address at which clients with group chat (Linphone) create rooms by"
        " INVITE, in any served domain. Empty: no such address, and edges take no INVITE, SUBSCRIBE and"
        " REFER.",
        json_schema_extra=_about("the user part of a SIP URI; empty: no such address", reload="edge"),
    )
    conference_domain: values.DomainOrNone = Field(
        "",
        description="Domain of the rooms that clients create at `conference_factory`. If it is not that of"
        " the factory, Linphone subscribes to each room alone after a restart. It must be among `domains`, if"
        " these are set. Empty: the domain of the factory.",
        json_schema_extra=_about("a host name; empty: that of the factory", reload="edge"),
    )
    room_from: Literal["request-uri", "to"] = Field(
        "request-uri",
        description="Where the room of a request is named: in the Request-URI, as RFC 3261 has it and the"
        " old modules read it, or in To. To also counts if the Request-URI has no user part.",
        json_schema_extra=_about(reload="edge"),
    )
    case_sensitive_users: bool = Field(
        True,
        description="Whether upper and lower case make a difference in the user part of users and rooms, as"
        " in RFC 3261. Otherwise addresses are stored in lower case. It must be the same in every process"
        " and must not change while there are rooms. The registrar must then ignore the case, too.",
        json_schema_extra=_about(reload=""),
    )
    sender_prefix: values.Prefix = Field(
        "<{user}@{host}>: ",
        description="Text put before every text/plain message to a room. `{name}` is the sender's"
        " nickname in the room, or the display name, or the user part if neither is safe to show. `{host}`"
        " includes the port if it is an IP address with one.",
        json_schema_extra=_about("text with {name}, {user} and {host}; empty: no prefix", reload="both"),
    )
    max_members: int = Field(
        500,
        ge=0,
        description="Maximum number of members of a room, including invited users. 0: no limit.",
        json_schema_extra=_about(reload="worker"),
    )
    max_bans: int = Field(
        500,
        ge=0,
        description="Maximum number of users that can be banned from a room. 0: no limit.",
        json_schema_extra=_about(reload="worker"),
    )
    max_rooms_per_owner: int = Field(
        500,
        ge=0,
        description="Maximum number of rooms that one user may own; the port in the user's address is"
        " ignored. 0: no limit.",
        json_schema_extra=_about(reload="both"),
    )

    # History of rooms
    history_max_messages: int = Field(
        500,
        ge=0,
        le=100_000,
        description="Approximate number of messages that each room keeps. Members who are away get them when"
        " they are back. 0: none are kept, and what a member misses is lost.",
        json_schema_extra=_about(reload="both"),
    )
    history_max_age: float = Field(
        604_800.0,
        ge=0,
        description="Seconds for which a room keeps a message. 0: no limit.",
        json_schema_extra=_about(reload="both"),
    )
    history_max_bytes: int = Field(
        0,
        ge=0,
        description="Memory in Redis that all messages kept by rooms may take, in bytes. Each shard has an"
        " equal share. Beyond it the oldest messages of a shard are removed, about once a minute."
        " 0: no limit.",
        json_schema_extra=_about(reload="worker"),
    )
    catch_up_max: int = Field(
        50,
        ge=1,
        le=1000,
        description="Maximum number of messages of a room that a member gets when it is back: the latest.",
        json_schema_extra=_about(reload="edge"),
    )
    remove_after_days: int = Field(
        0,
        ge=0,
        description="Days after which a member who is away, and has given no sign since, is removed from the"
        " room. The last owner stays. 0: members are never removed.",
        json_schema_extra=_about(reload="worker"),
    )

    # Limits of one user, counted over all edges
    max_messages_per_second: float = Field(
        10.0,
        ge=0,
        le=100_000,
        description="Messages that one user may send per second on average. 0: no limit.",
        json_schema_extra=_about(reload="edge"),
    )
    max_message_burst: int = Field(
        100,
        ge=1,
        description="Messages that one user may send at once.",
        json_schema_extra=_about(reload="edge"),
    )
    max_commands_per_minute: int = Field(
        120,
        ge=0,
        description="Commands that one user may send per minute; as many may come at once. 0: no limit.",
        json_schema_extra=_about(reload="edge"),
    )
    max_invitations_per_hour: int = Field(
        200,
        ge=0,
        description="Number of users that one user may invite or add per hour, also all at once, by"
        " commands or in Linphone. 0: no limit.",
        json_schema_extra=_about(reload="edge"),
    )
    max_invitations_per_target: int = Field(
        10,
        ge=0,
        description="Number of times that one user may invite or add the same user per hour. 0: no limit.",
        json_schema_extra=_about(reload="edge"),
    )
    max_deliveries_per_second: float = Field(
        200.0,
        ge=0,
        le=1_000_000,
        description="Deliveries that one user's messages and requests for history may cause per second on"
        " average; ten times as many may come at once. 0: no limit.",
        json_schema_extra=_about(reload="edge"),
    )
    max_total_messages_per_second: float = Field(
        0.0,
        ge=0,
        le=1_000_000,
        description="Messages and commands of all users together per second. 0: no limit.",
        json_schema_extra=_about(reload="edge"),
    )

    # SIP, incoming
    listen: values.Endpoints = Field(
        (values.Endpoint("udp", "127.0.0.1", 5060),),
        min_length=1,
        description="Addresses on which an edge accepts SIP.",
        json_schema_extra=_about("a list of udp|tcp|tls:HOST:PORT"),
    )
    advertise: values.Advertise = Field(
        "",
        description="Address that an edge puts into Via instead of its socket's own.",
        json_schema_extra=_about("HOST or HOST:PORT; empty: the socket's own"),
    )
    share_ports: bool = Field(
        False,
        description="Whether several edges on one machine listen on the same ports (SO_REUSEPORT). Each"
        " of them then sends over UDP from another port of its own.",
    )
    tls_certificate: str = Field(
        "",
        description="Certificate of an edge, followed by its intermediate certificates. Read again on"
        " SIGHUP.",
        json_schema_extra=_about("the path of a PEM file; empty: none"),
    )
    tls_private_key: str = Field(
        "",
        description="Private key of the certificate, if it is in another file. Read again on SIGHUP.",
        json_schema_extra=_about("the path of a PEM file; empty: none"),
    )
    tls_ca: str = Field(
        "",
        description="Certificate authorities that are trusted for the certificates of next hops. Read"
        " again on SIGHUP.",
        json_schema_extra=_about("the path of a PEM file; empty: the system's authorities"),
    )
    max_connections: int = Field(
        4096,
        ge=1,
        description="Maximum number of TCP and TLS connections of one process, in both directions. The"
        " limit of open files may allow fewer. An eighth is reserved for connections to next hops, another"
        " for `trusted_peers`.",
    )
    max_connections_per_peer: int = Field(
        64,
        ge=1,
        description="Maximum number of connections from one source to one process: an IPv4 address, or"
        " an IPv6 /64.",
    )
    max_connections_per_trusted_peer: int = Field(
        1024, ge=1, description="Maximum number of connections from one address in `trusted_peers`."
    )
    max_requests_per_source: float = Field(
        15.0,
        ge=0,
        le=1_000_000,
        description="Requests and new connections per second from one source (an IPv4 address, or an IPv6"
        " /64), averaged over 2 s. Over UDP, further ones are dropped unread; a TCP or TLS connection is"
        " read no faster, and closed after 10 s. Addresses in `trusted_peers` have no limit. 0: no limit.",
        json_schema_extra=_about(reload="edge"),
    )
    max_body: int = Field(
        8192,
        ge=1,
        le=65535,
        description="Maximum size of a request's body in bytes. Larger ones get 413.",
    )
    accept_types: values.MediaRanges = Field(
        ("text/*", "message/cpim", "message/imdn+xml", "application/im-iscomposing+xml", "multipart/*"),
        description="Accepted content types. Others get 415. text/plain is always accepted.",
        json_schema_extra=_about("a list of TYPE/SUBTYPE, TYPE/* or */*", reload="edge"),
    )
    receipts: Literal["author", "none"] = Field(
        "author",
        description="What happens to receipts (RFC 5438) that members send for messages: they go to the"
        " message's author only (`author`), or are discarded (`none`).",
        json_schema_extra=_about(reload="edge"),
    )
    mute_automatic_answers: bool = Field(
        True,
        description="Whether a member who answers every message of a room, as programs do, is muted there."
        " Without that, two such programs answer each other for ever, within the limits of messages.",
        json_schema_extra=_about(reload="worker"),
    )
    strict: bool = Field(
        False,
        description="Whether every fault of a request's syntax gets 400. Otherwise faults whose meaning is"
        " clear are accepted and counted in `imc_tolerated_total`: display names without quotes, user parts"
        " without escapes, odd tags and Content-Types, a body without Content-Type, malformed Contacts.",
        json_schema_extra=_about(reload="edge"),
    )
    max_backlog: int = Field(
        100_000,
        ge=0,
        description="Maximum number of requests of one shard that wait for a worker. Beyond it senders"
        " get 503. 0: no limit.",
        json_schema_extra=_about(reload="edge"),
    )

    # Identity of senders
    identity: Literal["from", "asserted", "digest"] = Field(
        "from",
        description="How the sender of a request is identified: by From (`from`) or P-Asserted-Identity"
        " (`asserted`) of requests that come from `trusted_peers`, or by From and a password"
        " (`digest`).",
        json_schema_extra=_about(reload="edge"),
    )
    trusted_peers: values.Networks = Field(
        ("127.0.0.0/8", "::1/128"),
        validate_default=True,
        description="Networks of the proxies and balancers that are trusted to identify senders."
        " Requests from elsewhere get 403, unless `identity = digest`.",
        json_schema_extra=_about("a list of IP networks, such as 10.0.0.0/8", reload="edge"),
    )
    digest_algorithms: values.DigestAlgorithms = Field(
        ("SHA-256", "SHA-512-256"),
        min_length=1,
        description="Algorithms of digest challenges, in the order in which they are offered. Linphone uses"
        " only the first one, and does not know SHA-512-256. MD5 is for clients that support nothing else.",
        json_schema_extra=_about("a list of " + ", ".join(values.DIGEST_ALGORITHMS), reload="edge"),
    )
    digest_nonce_ttl: float = Field(
        300.0,
        ge=1,
        le=86400,
        description="Seconds for which the nonce of a digest challenge is valid.",
        json_schema_extra=_about(reload="edge"),
    )
    digest_key_file: str = Field(
        "",
        description="File with the keys that sign nonces. The first line signs, all lines verify. Read"
        " again on SIGHUP. Empty: the keys are kept in Redis.",
        json_schema_extra=_about("a path; lines of at least 32 characters; empty: none"),
    )
    digest_max_failures: int = Field(
        10,
        ge=0,
        description="Wrong passwords for one user from one source (an IPv4 address, or an IPv6 /64), after"
        " which further attempts are slowed down. 0: no limit.",
        json_schema_extra=_about(reload="edge"),
    )

    # SIP, outgoing
    outbound_proxy: values.ProxyUri = Field(
        "",
        description="Next hop of every delivery. Empty: the host in the recipient's address.",
        json_schema_extra=_about("sip:HOST[:PORT][;transport=udp|tcp|tls]"),
    )
    extra_hdrs: values.HeaderLines = Field(
        (),
        description="Header fields added to every delivery.",
        json_schema_extra=_about("a list of `Name: value`, none that the service sets itself", reload="edge"),
    )
    delivery_chunk: int = Field(
        64,
        ge=1,
        le=1000,
        description="Maximum number of recipients in one stream entry.",
        json_schema_extra=_about(reload="worker"),
    )
    credentials: values.Credentials = Field(
        (),
        description="Users and passwords for responses to digest challenges, one for each realm.",
        json_schema_extra=_about("a list of USER:PASSWORD@REALM"),
    )
    destination_networks: values.Networks = Field(
        (),
        description="Networks that deliveries may go to in addition to public addresses, if there is no"
        " `outbound_proxy`. `imc up` adds the loopback networks if it listens on nothing else.",
        json_schema_extra=_about("a list of IP networks, such as 10.0.0.0/8"),
    )
    destination_networks_denied: values.Networks = Field(
        (),
        description="Networks that deliveries must not go to, if there is no `outbound_proxy`.",
        json_schema_extra=_about("a list of IP networks, such as 203.0.113.0/24"),
    )
    destination_domains: values.Domains = Field(
        (),
        description="Domains that deliveries may go to, including their subdomains, if there is no"
        " `outbound_proxy`. Empty: any domain.",
        json_schema_extra=_about("a list of host names, without ports"),
    )
    max_in_flight: int = Field(
        2000,
        ge=1,
        description="Maximum number of deliveries of one edge that are in flight or queued. Deliveries"
        " to recipients that do not respond are counted separately.",
        json_schema_extra=_about(reload="edge"),
    )
    recipient_queue: int = Field(
        1000,
        ge=1,
        description="Maximum number of deliveries queued for one recipient that is slow to respond."
        " Further ones fail.",
        json_schema_extra=_about(reload="edge"),
    )
    undelivered_max: int = Field(
        10_000,
        ge=0,
        description="Approximate number of failed deliveries that each shard keeps for inspection. The"
        " oldest are removed first.",
    )
    unreachable_ttl: float = Field(
        30.0,
        ge=0,
        description="Seconds for which a recipient is backed off after a timeout.",
        json_schema_extra=_about(reload="edge"),
    )

    # Monitoring
    status_listen: values.HostPort = Field(
        "",
        description="Address of the HTTP server for /metrics, /livez and /readyz. Empty: none.",
        json_schema_extra=_about("HOST:PORT; port 0 takes a free one"),
    )
    hep_address: values.HostPort = Field(
        "",
        description="Homer server that gets a copy of every SIP message, as HEP3 over UDP. Empty: none.",
        json_schema_extra=_about("HOST:PORT"),
    )
    hep_capture_id: int = Field(
        2001, ge=0, le=4294967295, description="Capture agent ID in packets to `hep_address`."
    )
    hep_auth_key: str = Field(
        "",
        description="Authentication key in packets to `hep_address`.",
        json_schema_extra=_about("text; empty: none"),
    )

    # Management interface
    mi_fifo: str = Field(
        "",
        description="FIFO from which a worker or `imc mi-server` reads MI commands. Empty: none.",
        json_schema_extra=_about("a path"),
    )
    mi_reply_dir: Path = Field(
        Path("/tmp"),  # noqa: S108 # where OpenSIPS and its clients have them; opened with care
        description="Folder that contains the reply FIFOs of MI clients.",
    )
    mi_listen: values.HostPort = Field(
        "",
        description="Address on which a worker or `imc mi-server` accepts MI commands by HTTP POST to"
        " /mi. Empty: none.",
        json_schema_extra=_about("HOST:PORT; port 0 takes a free one"),
    )
    mi_token: str = Field(
        "",
        validate_default=True,
        description="Token that HTTP clients of MI must send as `Authorization: Bearer TOKEN`. Required"
        " unless `mi_listen` is a loopback address.",
        json_schema_extra=_about("printable ASCII without spaces; empty only on loopback"),
    )

    # Processes
    lease_ttl: float = Field(
        3.0,
        ge=0.3,
        le=60,
        description="Seconds after which other processes take over the shards of a process that stopped"
        " renewing its leases.",
    )
    drain_timeout: float = Field(
        32.0,
        ge=0,
        description="Maximum number of seconds that a stopping process takes to finish what is in flight.",
    )
    max_attempts: int = Field(
        5,
        ge=3,
        description="Failed attempts after which a stream entry goes to the dead letters. At least 3,"
        " because the first ones may be the fault of another entry that was tried with it.",
    )
    data_dir: Path = Field(Path("var"), description="Folder for the data of the embedded server of `imc up`.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Minimum log level.", json_schema_extra=_about(reload="both")
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto",
        description="Format of log lines. `auto`: `console` on a terminal, `json` elsewhere.",
        json_schema_extra=_about(reload="both"),
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Python accepts `true` as 1, but for a number it is a mistake."""
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation is not bool:
            raise ValueError("it is a boolean")
        return value

    @field_validator("rooms_table", "members_table", "history_table")
    @classmethod
    def _keys_of_its_own(cls, table: str, info: ValidationInfo) -> str:
        """Two kinds of data under one key would destroy each other."""
        others = {info.data.get(name): name for name in ("rooms_table", "members_table")}
        if table in others:
            raise ValueError(f"it must differ from {others[table]}")
        if table in {"imc_devices", "imc_roster"}:  # `imc_common.keys`
            raise ValueError("imc uses this prefix for other keys")
        return table

    @field_validator("conference_domain")
    @classmethod
    def _domain_that_is_served(cls, name: str, info: ValidationInfo) -> str:
        """Every request to a room in another domain would get 404."""
        domains = info.data.get("domains")
        if name and domains and name not in domains:
            raise ValueError("it must be one of the domains that the setting `domains` lists")
        return name

    @field_validator("mi_token")
    @classmethod
    def _token_where_others_reach_mi(cls, token: str, info: ValidationInfo) -> str:
        """Clients on other machines must authenticate, because MI can change everything."""
        if not token.isascii() or not token.isprintable() or " " in token:
            raise ValueError("it has a space or a character that is not printable ASCII")
        listen = info.data.get("mi_listen", "")
        if listen and not token and not values.is_loopback(values.host_and_port(listen)[0]):
            raise ValueError(f"it must be set, because mi_listen {listen} is not a loopback address")
        return token

    @property
    def shows_nicknames(self) -> bool:
        """Whether messages carry the sender's nickname: for a prefix with `{name}`, or for From alone."""
        return not self.sender_prefix or "{name" in self.sender_prefix

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        """Hide passwords in tracebacks and logs."""
        for name, value in super().__repr_args__():
            yield name, values.shown(name, value)
