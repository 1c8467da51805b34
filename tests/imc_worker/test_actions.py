"""What scripts are given."""

from __future__ import annotations

import pytest

from imc_common.settings import Settings
from imc_worker.actions import CAUSED_MS, room_actions


@pytest.mark.parametrize(
    ("settings", "most", "small"),
    [
        ({}, 2000, 10),  # 100 messages at once and 100 more in 10 s, to 10 others each
        ({"max_messages_per_second": 0}, 2000, 0),
        ({"max_deliveries_per_second": 0}, 0, 0),
        ({"max_deliveries_per_second": 0.5}, 5, 0),
    ],
)
def test_deliveries_are_counted_where_messages_do_not_bound_them(
    settings: dict[str, float], most: int, small: int
) -> None:
    """Who keeps to the limit of messages causes no more than the limit of deliveries there."""
    args = room_actions(Settings(**settings))[b"message"].args  # type: ignore[arg-type]
    assert args == (most, CAUSED_MS, small)
