"""The headers and the body of a NOTIFY (RFC 4575, RFC 6665, RFC 4662)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from imc_common.bodies.conference_info import ConferenceInfo
from imc_common.rooms.event import Event
from imc_common.rooms.request import EntryError
from imc_edge.conference.dialog import Dialog
from imc_edge.conference.notification import Notification, notification_of

ROOM = "r@example.org"


def notify(*, is_list: bool = False, expires_in: int = 60, event_id: str = "", **detail: Any) -> Notification:
    """A notification of these changes."""
    local = "sip:conference-factory@example.org" if is_list else f"sip:{ROOM}"
    dialog = Dialog("c", "l", "r", local, "sip:a@x", "sip:a@x;gr=1", is_list=is_list)
    dialog = dialog._replace(expires_in=expires_in, event_id=event_id)
    event = Event(
        "5-1", 3, "notify", ROOM, ("a@x;gr=1",), detail=json.dumps({"full": False, "version": 7} | detail)
    )
    return notification_of(event, dialog)


def test_a_partial_notification_has_what_has_changed() -> None:
    """Users who are gone, and devices that are."""
    users = [
        ["b@x", "deleted"],
        ["c@x", "admin", ["c@x;gr=1"], ["c@x;gr=2"]],
        ["d@x", "member", {}, {}],
    ]
    made = notify(users=users)
    info = ConferenceInfo.parse(made.body)
    assert (info.is_full, info.version, info.subject) == (False, 7, None)
    gone, admin, member = info.users
    assert (gone.uri, gone.is_deleted) == ("sip:b@x", True)
    assert (admin.is_admin, admin.devices, admin.gone_devices) == (True, ("sip:c@x;gr=1",), ("sip:c@x;gr=2",))
    assert (member.is_admin, member.devices) == (False, ())
    assert dict(made.headers)["Subscription-State"] == "active;expires=60"


def test_a_full_notification_has_a_subject_even_if_the_room_has_none() -> None:
    """So the client shows none."""
    assert ConferenceInfo.parse(notify(full=True, users={}).body).subject == ""


@pytest.mark.parametrize(
    ("given", "state"),
    [
        ({"terminated": "noresource"}, "terminated;reason=noresource"),
        ({"expires_in": 0}, "terminated;reason=timeout"),
        ({"expires_in": 0, "terminated": "deactivated"}, "terminated;reason=deactivated"),
        ({"is_list": True, "terminated": "noresource"}, "active;expires=60"),
    ],
)
def test_the_end_of_a_subscription_has_a_reason(given: dict[str, Any], state: str) -> None:
    """RFC 6665 §4.1.3; one room of a list ends alone."""
    assert dict(notify(**given).headers)["Subscription-State"] == state


def test_a_client_with_a_secure_address_gets_a_secure_contact() -> None:
    """RFC 3261 §8.1.1.8."""
    dialog = Dialog("c", "l", "r", "sips:r@x", "sips:a@x", "sips:a@x;gr=1", expires_in=60)
    event = Event("5-1", 3, "notify", ROOM, ("a@x;gr=1",), detail='{"full":true,"version":1}')
    assert dict(notification_of(event, dialog).headers)["Contact"] == f"<sips:{ROOM}>;isfocus"


@pytest.mark.parametrize("is_list", [False, True])
def test_a_notification_has_the_id_of_its_subscription(is_list: bool) -> None:
    """RFC 6665 §8.2.1: the client compares it, and ends what it does not know."""
    assert dict(notify(is_list=is_list).headers)["Event"] == "conference"
    assert dict(notify(is_list=is_list, event_id="77").headers)["Event"] == "conference;id=77"


def test_a_room_of_a_list_comes_with_rlmi() -> None:
    """RFC 4662: the boundary is the last parameter, or Linphone crashes."""
    made = notify(is_list=True, terminated="noresource")
    headers = dict(made.headers)
    assert (headers["Require"], headers["Contact"]) == (
        "eventlist",
        "<sip:conference-factory@example.org>;isfocus",
    )
    assert headers["Content-Type"].startswith("multipart/related;")
    assert headers["Content-Type"].rpartition(";")[2].startswith("boundary=")
    assert f'<resource uri="sip:{ROOM}">'.encode() in made.body
    named = f'<instance id="{ROOM}" state="terminated" reason="noresource" cid="{ROOM}"'
    assert named.encode() in made.body, "in each notification the same (§5.5)"
    assert f"Content-Id: {ROOM}\r\n".encode() in made.body


@pytest.mark.parametrize(
    "detail", ["", "[]", "{}", '{"full":1,"version":"x"}', '{"full":1,"version":1,"users":[[]]}']
)
def test_a_roster_that_cannot_be_read_is_an_error(detail: str) -> None:
    """The event becomes a dead letter."""
    event = Event("5-1", 3, "notify", ROOM, ("a@x",), detail=detail)
    with pytest.raises(EntryError, match="roster"):
        notification_of(event, Dialog("c", "l", "r", "sip:r", "sip:a", "sip:a"))
