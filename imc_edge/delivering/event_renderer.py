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

    def render(self, entry_id: str, shard: int, fields: list[bytes]) -> tuple[Event, list[MessageTemplate]]:
        """The event of an entry, and its MESSAGEs; none if there is nothing to send.

        Raises any error if the entry is broken.
        """
        event = Event.from_fields(entry_id, shard, fields)
        headers = event.data.headers + self._headers
        return event, [
            make_template(
                self._delivery_ids.message_id(event.room, event.position, number), event, text, headers
            )
            for number, text in enumerate(render(event, self._settings))
        ]
