"""Who was removed for having been away too long hears of it when it is back."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from pathlib import Path

import pytest

from imc_common import keys
from imc_common.keys import Keys
from imc_common.rooms.request import RequestData, RoomRequest
from imc_common.settings import Settings
from tests.integration.service import service
from tests.integration.sip_user import SipUser, notice
from tests.integration.test_away import come_back, go, in_a_room, register, told
from tests.processes import wait_until

pytestmark = pytest.mark.integration


async def reached(true: Callable[[], bool], what: str) -> None:
    """Wait until this is true, while the users go on responding."""
    await asyncio.to_thread(wait_until, true, what)


async def test_a_user_who_was_removed_while_it_was_away_is_told_when_it_registers(tmp_path: Path) -> None:
    """The others are told at once."""
    room = f"room-{secrets.token_hex(4)}@example.org"
    shard = keys.shard_of(room, Settings().hash_size)
    with service(tmp_path, "redis", {"history_max_messages": "500", "remove_after_days": "1"}) as imc:
        alice, carol = [await SipUser.open(name, imc.edge) for name in ("alice", "carol")]
        try:
            await in_a_room(f"sip:{room}", alice, carol)
            go(carol, 480)
            await told(alice, f"sip:{room}", 0, 1)
            state = Keys().room(shard, room)
            await reached(lambda: bool(imc.redis.hexists(state, f"away:{carol.address}")), "an absence")
            imc.redis.hset(state, f"away:{carol.address}", "1-1")  # that was long ago
            request = RoomRequest("remove_absent", carol.address, room, data=RequestData(call_id="j").pack())
            fields = iter(request.to_fields())
            imc.redis.xadd(keys.requests(shard), dict(zip(fields, fields, strict=True)))
            await alice.assert_gets(notice(carol.address, "has been removed"))
            await reached(lambda: bool(imc.redis.exists(keys.farewells(shard, carol.address))), "the notice")
            come_back(carol)
            await register(carol)
            received = await carol.assert_gets(notice("You were away for too long", "removed"))
            assert received.sender == room
            await carol.assert_gets_nothing()
        finally:
            alice.close()
            carol.close()
