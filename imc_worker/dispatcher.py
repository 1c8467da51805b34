"""From an entry of an in-stream to the command that runs its script."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from imc_common import keys
from imc_common.address import without_port
from imc_common.devices import is_device
from imc_common.keys import Keys
from imc_common.rooms.request import EntryError
from imc_common.settings import Settings
from imc_common.store import Command, ReplyError
from imc_common.store.url import is_cluster
from imc_worker.actions import CLIENT_DEVICES, MUTE, OWNED_ELSEWHERE, Action, Fields, room_actions
from imc_worker.all_shards import AllShards
from imc_worker.automatic_answers import Answers
from imc_worker.delivery_reports import DeliveryReports

PendingEntry = tuple[int, bytes, list[bytes]]
"""An entry that was read and is not handled: shard, id, flat fields."""

Outcome = Command | Exception
"""The command for an entry, or why there is none."""

MAX_RECIPIENTS = 5000
"""Recipients of all messages of one script, approximately: some milliseconds of Redis's time."""


class ScriptCommands(Protocol):
    """The part of `imc_common.scripts.Scripts` that is needed here."""

    def command(self, name: str, keys: Sequence[str], args: Sequence[str | bytes | int]) -> Command:
        """The command that runs this script."""
        ...


class Dispatcher:
    """Builds the commands for entries. If one needs a look-up in other shards, all wait for it: one round
    trip."""

    def __init__(self, scripts: ScriptCommands, all_shards: AllShards, settings: Settings) -> None:
        self._command = scripts.command
        self._all_shards = all_shards
        self.reload(settings)
        self.spans_shards = not is_cluster(settings.db_url)
        """Whether a script may have keys of several shards."""
        names = Keys(settings.rooms_table, settings.members_table, settings.history_table)
        # Built once: the keys cost more to build than all else that a message needs here.
        self._prefixes = [
            (keys.requests(s), keys.events(s), names.rooms(s), names.room(s, ""), names.members(s, ""))
            for s in range(1 << settings.hash_size)
        ]
        self._of_messages = [
            (
                (requests, events, keys.history_off(shard)),
                (members, names.history(shard, ""), room, keys.authors_prefix(shard)),
            )
            for shard, (requests, events, _, room, members) in enumerate(self._prefixes)
        ]

    def reload(self, settings: Settings) -> None:
        """Use these settings from now on."""
        self._actions = room_actions(settings)
        self._reports = DeliveryReports(settings)
        self._create_on_join = settings.create_on_join
        self._has_conferences = bool(settings.conference_factory)
        self._counts_owned = settings.max_rooms_per_owner > 0
        self._chunk = settings.delivery_chunk
        self._shows_nicknames = int(settings.shows_nicknames)
        self._history = (settings.history_max_messages, int(settings.history_max_age * 1000))

    async def commands(
        self, entries: Sequence[PendingEntry], answers: Answers | None = None
    ) -> list[Outcome]:
        """The command for each entry, in order, or why there is none. Raises StoreUnreachable.

        ``answers``: those that are not delivered, because a program has sent them.
        """
        outcomes: list[Outcome] = []
        waiting: list[tuple[int, Action, Fields]] = []
        admitting: list[tuple[int, Action, Fields]] = []
        for at, (shard, entry_id, flat) in enumerate(entries):
            try:
                pairs = iter(flat)
                fields = dict(zip(pairs, pairs, strict=True))
                is_told = answers.get((shard, entry_id)) if answers else None
                action = self._action_of(fields) if is_told is None else MUTE[is_told]
                if action is None:  # changes no room: one of a few fixed scripts
                    outcomes.append(await self._without_room(shard, entry_id, fields))
                    continue
                outcomes.append(self.room_command(action, shard, entry_id, fields, 0))
                if action.admits and self._has_conferences:
                    admitting.append((at, action, fields))
                # The limit of rooms per owner holds over all shards. The command is built again, with the
                # number of rooms in the other shards, if the request can make somebody an owner.
                if action.owner and self._counts_owned and fields.get(b"role", b"owner") == b"owner":
                    waiting.append((at, action, fields))
            except (
                KeyError,
                ValueError,
                EntryError,
                ReplyError,
            ) as error:  # UnicodeDecodeError is a ValueError
                outcomes.append(error)
        devices = await self._find_devices(entries, admitting, outcomes) if admitting else {}
        if waiting:
            await self._count_owned(entries, waiting, outcomes, devices)
        return outcomes

    def messages(self, batches: Sequence[Sequence[PendingEntry]]) -> Command:
        """The command that handles these plain messages: each batch is of one shard and in order."""
        names: list[str] = []
        args: list[str | bytes | int] = [
            self._chunk,
            MAX_RECIPIENTS,
            *self._history,
            self._shows_nicknames,
        ]
        for entries in batches:
            keys_of_shard, prefixes = self._of_messages[entries[0][0]]
            if names:
                args.append("")
            names += keys_of_shard
            args += prefixes
            args += [entry_id for _, entry_id, _ in entries]
        return self._command("broadcast_messages", names, args)

    def _action_of(self, fields: Fields) -> Action | None:
        """None: the request or report changes no room."""
        kind = fields[b"type"]
        action = self._actions.get(kind)
        return self._reports.action(fields) if action is None and kind == b"delivery_report" else action

    def room_command(  # noqa: PLR0917 # the last two are what was looked up
        self,
        action: Action,
        shard: int,
        entry_id: bytes,
        fields: Fields,
        owned_elsewhere: int,
        client_devices: str = "",
    ) -> Command:
        """The command that runs this action's script. Raises KeyError if the entry lacks a field."""
        room = fields[b"room"].decode()
        requests, events, rooms, room_prefix, members_prefix = self._prefixes[shard]
        names = [requests, events, rooms, room_prefix + room, members_prefix + room]
        if action.of_device and is_device(fields[b"from"].decode()):
            names[-1] = keys.devices(shard, room)
        args: list[str | bytes | int] = [entry_id, self._chunk]
        if action.further_keys:
            names += [key(shard, fields) for key in action.further_keys]
        if action.args:
            looked_up: dict[str | int, str | int] = {
                OWNED_ELSEWHERE: owned_elsewhere,
                CLIENT_DEVICES: client_devices,
            }
            args += [looked_up.get(arg, arg) for arg in action.args]
        if action.with_room_prefix:
            args.append(room_prefix)
        if action.with_index:
            args += (keys.private_rooms(shard, ""), keys.owned_rooms(shard, ""))
        return self._command(action.script, names, args)

    async def _without_room(self, shard: int, entry_id: bytes, fields: Fields) -> Command:
        requests, events = self._prefixes[shard][:2]
        match fields[b"type"]:
            case b"delivery_report":
                return self._command("discard_report", [requests], [entry_id])
            case b"user_online":
                names = [requests, events, keys.away_rooms(shard, fields[b"from"].decode())]
                names += [keys.probes(shard), keys.probe_waits(shard)]
                return self._command("call_user_back", names, [entry_id, self._prefixes[shard][3]])
            case b"help" | b"refused" as event:
                return self._command("notify_sender", [requests, events], [entry_id, event])
            case b"rooms":
                found, more = await self._all_shards.rooms_for(fields[b"from"].decode())
                args: list[str | bytes | int] = [entry_id, "rooms", "list", found, "more", more]
                return self._command("notify_sender", [requests, events], args)
            case unknown:
                raise EntryError(f"unknown type {unknown!r}")

    async def _find_devices(
        self,
        entries: Sequence[PendingEntry],
        admitting: list[tuple[int, Action, Fields]],
        outcomes: list[Outcome],
    ) -> dict[int, str]:
        """Build the commands of `admitting` again where the new member has devices; gives those, by place."""
        listed = [
            user.decode()
            for _, action, fields in admitting
            if action.script == "open_conference"
            for user in fields.get(b"detail", b"").split()
        ]
        users = {at: fields[action.admits].decode() for at, action, fields in admitting}
        known = await self._all_shards.devices_for_new_room([*users.values(), *listed])
        found = {at: known[user] for at, user in users.items() if user in known}
        for at, action, fields in admitting:
            if at in found:
                shard, entry_id, _ = entries[at]
                outcomes[at] = self.room_command(action, shard, entry_id, fields, 0, found[at])
        return found

    async def _count_owned(
        self,
        entries: Sequence[PendingEntry],
        waiting: list[tuple[int, Action, Fields]],
        outcomes: list[Outcome],
        devices: dict[int, str],
    ) -> None:
        """Build the commands of `waiting` again, with the rooms that the user owns in other shards."""
        # Joining a room that exists makes nobody an owner: the look-up below is saved for all such requests.
        joins = [(entries[at][0], f[b"room"].decode()) for at, a, f in waiting if a.script == "join_room"]
        exist = iter(await self._all_shards.exist(joins) if joins else [])
        needed = [
            (at, action, fields)
            for at, action, fields in waiting
            if action.script != "join_room" or (not next(exist) and self._create_on_join)
        ]
        users = [(entries[at][0], fields[action.owner].decode()) for at, action, fields in needed]
        counts = await self._all_shards.owned_elsewhere(users) if users else []
        # Requests of one pipeline were counted before any of them took effect. So each also counts those of
        # the same user before it, but not those in its own shard: its script sees their effect.
        earlier: dict[str, list[int]] = {}  # shards of a user's earlier requests
        for (at, action, fields), (_, user), count in zip(needed, users, counts, strict=True):
            shard, entry_id, _ = entries[at]
            before = earlier.setdefault(without_port(user), [])
            if isinstance(count, ReplyError):
                outcomes[at] = count
            else:
                elsewhere = count + len(before) - before.count(shard)
                outcomes[at] = self.room_command(
                    action, shard, entry_id, fields, elsewhere, devices.get(at, "")
                )
            before.append(shard)
