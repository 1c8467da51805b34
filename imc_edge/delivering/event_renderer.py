"""Makes an entry of an out-stream into the MESSAGEs that its recipients get."""

from __future__ import annotations

from imc_common.rooms.event import Event
from imc_common.rooms.texts import render
from imc_common.settings import Settings
from imc_edge.delivering.outbound import MessageTemplate, make_template
from imc_edge.identifiers import DeliveryIds


class EventRenderer:
    """Knows the settings that decide what an event's text and headers are."""

    def __init__(self, delivery_ids: DeliveryIds, settings: Settings) -> None:
        self._delivery_ids = delivery_ids
        self.reload(settings)

    def reload(self, settings: Settings) -> None:
        """Go on with these settings."""
        self._settings = settings
        self._headers = tuple(
            (line.partition(": ")[0], line.partition(": ")[2]) for line in settings.extra_hdrs
        )

    def render(self, event: Event) -> list[MessageTemplate]:
        """The MESSAGEs of an event; none if there is nothing to send. Raises any error if it is broken."""
        headers = event.data.headers + self._headers
        return [
            make_template(
                self._delivery_ids.message_id(event.room, event.position, number), event, text, headers
            )
            for number, text in enumerate(render(event, self._settings))
        ]
