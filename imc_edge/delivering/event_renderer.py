"""Makes an entry of an out-stream into the MESSAGEs that its recipients get."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from imc_common.bodies.essence import CPIM, PLAIN, essence
from imc_common.rooms.event import (
    CPIM_CLIENT,
    DEVICE_CLIENT,
    INVITE,
    OF_CONFERENCES,
    ROSTER,
    TEXT_CLIENT,
    Event,
)
from imc_common.rooms.texts import render
from imc_common.settings import Settings
from imc_edge.delivering.dialog_request import DialogRequest, invite_of, request_in_dialog
from imc_edge.delivering.outbound import TEXT_CSEQ, MessageTemplate, make_template
from imc_edge.delivering.sequence_numbers import SequenceNumbers
from imc_edge.identifiers import DeliveryIds


class EventRenderer:
    """Knows the settings that decide what an event's text and headers are."""

    def __init__(
        self, delivery_ids: DeliveryIds, settings: Settings, redis_clock: Callable[[], float] = time.time
    ) -> None:
        """``redis_clock`` gives seconds since the epoch."""
        self._delivery_ids = delivery_ids
        self._numbers = SequenceNumbers(redis_clock)
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        self._settings = settings
        self._names_position = settings.history_max_messages > 0 and settings.receipts == "author"
        self._headers = tuple(
            (line.partition(": ")[0], line.partition(": ")[2]) for line in settings.extra_hdrs
        )

    def render(self, event: Event) -> list[MessageTemplate]:
        """The MESSAGEs of an event; none if there is nothing to send. Raises any error if it is broken."""
        if event.name in OF_CONFERENCES:
            event_id = self._delivery_ids.message_id(event.room, event.entry_id, 0)
            return [] if event.name == ROSTER else [MessageTemplate.of_dialog(event_id)]
        headers = event.data.headers + self._headers
        room, position = event.room, event.position
        # RFC 5438 §6.3: the id of a wrapped message, the same each time that the message is sent. One that is
        # in CPIM has its author's.
        message_id, is_in_cpim = "", essence(event.data.content_type) == CPIM
        if (event.client or is_in_cpim) and not (is_in_cpim and event.name == "message"):
            message_id = f"{self._delivery_ids.message_id(room, position, 0).decode()}.{position}"
        is_again = position != event.entry_id
        return [
            make_template(
                self._delivery_ids.message_id(room, position, number),
                event,
                text,
                headers,
                branch_id=self._delivery_ids.message_id(room, event.entry_id, number) if is_again else b"",
                names_position=self._names_position,
                first_cseq=TEXT_CSEQ if is_in_cpim and event.client == TEXT_CLIENT else 1,
            )
            for number, text in enumerate(render(event, self._settings, message_id))
        ]

    def in_dialog(self, event: Event) -> DialogRequest | None:
        """What is sent for an event of a conference; None for the work item `roster`. Raises any error."""
        if event.name == ROSTER:
            return None
        if event.name == INVITE:
            return invite_of(event, self._delivery_ids, self._headers)
        return request_in_dialog(event, self._headers, next_number=self._numbers.next)

    def text_form(self, event: Event) -> Callable[[], list[MessageTemplate]] | None:
        """Makes the MESSAGE for a client that refuses CPIM; None if the event is not sent in CPIM.

        A client may refuse CPIM although it sends it: Linphone does, unless From inside is the room.
        """
        is_wrapped = event.client == CPIM_CLIENT
        if event.data.content_type == PLAIN and not is_wrapped:
            return None
        if event.name not in {"message", "disposition"}:
            return None
        if event.client in {TEXT_CLIENT, DEVICE_CLIENT}:  # there is no client of conferences without CPIM
            return None
        if not is_wrapped and essence(event.data.content_type) != CPIM:
            return None
        return partial(self._render_as_text, event)

    def _render_as_text(self, event: Event) -> list[MessageTemplate]:
        """Seldom needed, so the event is copied only here."""
        return self.render(replace(event, client=TEXT_CLIENT))
