"""Handles a delivery that ended: the edge reports it as an entry of type `delivery_report`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from imc_common import keys
from imc_common.devices import user_of
from imc_common.rooms.delivery_reports import consequence
from imc_common.rooms.event import NO_HISTORY, REPLAY
from imc_common.settings import Settings
from imc_worker.actions import Action, Fields, FurtherKey, history_of_room

FIRST_PROBE_MS: Final = 2000
"""From the failed delivery to the first probe: a phone that changes its network is often back by then."""


class DeliveryReports:
    """Chooses the action: withdraw an invitation, mark a member as away, let a device in, or none."""

    def __init__(self, settings: Settings) -> None:
        self._keeps_history = settings.history_max_messages > 0
        of_user = (_away_rooms, _of_shard(keys.probes), _of_shard(keys.probe_waits))
        history = history_of_room(settings)[0]
        self.actions: Mapping[str, Action] = {
            "withdraw_invitation": Action("withdraw_invitation"),
            "note_client": Action("note_client"),
            "mark_away": Action(
                "mark_away",
                (*of_user, _of_shard(keys.history_off), history),
                (FIRST_PROBE_MS,),
                of_device=True,
            ),
            "resume_catch_up": Action("resume_catch_up", of_device=True),
            "admit_device": Action(
                "admit_device",
                (*of_user, _of_shard(keys.history_off)),
                (settings.history_max_messages,),
            ),
            "admit_as_text": Action(
                "admit_as_text",
                (*of_user, _of_shard(keys.history_off)),
                (settings.history_max_messages,),
            ),
            "settle_notify": Action("settle_notify", of_user, (FIRST_PROBE_MS,)),
            "keep_farewell": Action("keep_farewell", of_user[1:], (FIRST_PROBE_MS,)),
            "readmit_device": Action("readmit_device"),
            "welcome_back": Action(
                "welcome_back",
                (*of_user, _of_shard(keys.undelivered), history),
                (settings.undelivered_max,),
                with_room_prefix=True,
                of_device=True,
            ),
        }

    def action(self, fields: Fields) -> Action | None:
        """None: nothing follows from this delivery, the report is only discarded."""
        event, outcome, catch_up, history_id = (
            fields.get(name, b"").decode() for name in (b"event", b"status", b"catch_up", b"history_id")
        )
        is_kept = self._keeps_history and history_id != NO_HISTORY and catch_up != REPLAY
        found = consequence(event, outcome, catch_up, history=is_kept)
        return self.actions[found] if found else None


def _away_rooms(shard: int, fields: Fields) -> str:
    return keys.away_rooms(shard, user_of(fields[b"from"].decode()))


def _of_shard(make: Callable[[int], str]) -> FurtherKey:
    return lambda shard, fields: make(shard)
