"""Linphone's group chat with OpenSIPS as proxy: `deploy/opensips/linphone.cfg`. Run by `make test-opensips`.

Rooms are in a domain of their own, as docs/linphone.md says of a proxy that does not name devices.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.peers.group_chat import group_chat_platform
from tests.integration.peers.opensips import OpenSipsPlatform
from tests.integration.peers.telephony import Platform
from tests.integration.peers.test_group_chat import *  # noqa: F403 # the same must be true here

del test_a_text_user_takes_part_with_commands  # noqa: F821 # baresip registers in the domain of its room

pytestmark = [pytest.mark.integration, pytest.mark.opensips]


@pytest.fixture(scope="module", name="telephony")
def telephony_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """A platform whose OpenSIPS knows Linphone's group chat."""
    domains = {"conference_domain": "conf.example.org", "domains": "example.org,conf.example.org"}
    folder = tmp_path_factory.mktemp("platform")
    with group_chat_platform(folder, OpenSipsPlatform, **domains) as running:
        yield running
