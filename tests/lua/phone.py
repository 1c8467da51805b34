"""A phone as an edge sees it: takes what the scripts send; how that ended goes back through the scripts."""

from __future__ import annotations

from collections.abc import Callable

from imc_common import keys
from imc_common.rooms.delivery_reports import AWAY, NOT_SENT, consequence
from tests.lua.shard import BOB, IN, OUT, SHARD, Shard, decoded

Fields = dict[str, str]


class Phone:
    """The phone of a member: `status_of` says how it responds to a message or an ``idle``.

    `tried` are the ids of messages that were sent to it, `got` those that it has taken, `told` the notices,
    and `probes` the events that probes were.
    """

    def __init__(self, shard: Shard, status_of: Callable[[Fields], str], user: str = BOB) -> None:
        self._shard = shard
        self._user = user
        self._is_there = True
        self.status_of = status_of
        self.tried: list[str] = []
        self.got: list[str] = []
        self.told: list[tuple[str, str]] = []
        self.probes: list[str] = []

    def run(self) -> None:
        """Everything that is on its way arrives, and what follows from it."""
        while entries := decoded(self._shard.redis.xrange(OUT, count=1)):
            ((entry, fields),) = entries
            if self._user not in fields["to"].split():
                self._shard.redis.xdel(OUT, entry)
            elif fields["event"] == "catch_up":
                self._is_there = True
                self._shard.run("hand_out", *self._shard.call_hand_out(entry, self._user, fields["room"]))
            else:
                self._take(entry, fields)

    def probe(self) -> None:
        """The next probe of the user is due."""
        self._shard.redis.zadd(keys.probes(SHARD), {self._user: 1}, xx=True)
        self._shard.run("probe_users", *self._shard.call_probes())
        self.probes += [
            fields["event"]
            for _, fields in decoded(self._shard.redis.xrange(OUT))
            if fields.get("catch_up") == "probe"
        ]
        self.run()

    def sign(self) -> None:
        """The user has registered."""
        self._is_there = True
        entry = self._shard.put("user_online", self._user, self._user)
        assert self._shard.run("call_user_back", *self._shard.call_online(entry, self._user)) == "done"
        self.run()

    def _take(self, entry: str, fields: Fields) -> None:
        is_message, catch_up = fields["event"] == "message", fields.get("catch_up", "")
        position = fields.get("history_id", entry)
        if is_message and not self._is_there and catch_up != "probe":
            status = NOT_SENT  # as imc_edge/delivering/absence.py has it
        else:
            status = self.status_of({**fields, "history_id": position})
            self._is_there = status not in AWAY
            if is_message:
                self.tried.append(position)
                self.got += [position] if self._is_there else []
            elif self._is_there:
                self.told.append((fields["event"], fields["room"]))
        self._settle(entry, fields, status)

    def _settle(self, entry: str, fields: Fields, status: str) -> None:
        catch_up = fields.get("catch_up", "")
        follows = consequence(fields["event"], status, catch_up, history=True)
        places = [OUT, IN, keys.settled(SHARD, entry), keys.undelivered(SHARD)]
        outcome = [self._user, status, int(follows is not None)]
        assert self._shard.run("settle", places, [entry, 1, 1000, 1000, "", *outcome]) == "done"
        if follows is not None:
            ((report, _),) = decoded(self._shard.redis.xrange(IN))
            command = self._shard.command(follows, report, self._user, fields["room"])
            assert self._shard.run(follows, *command) == "done"
