"""What a person reads.

Covers pages.py.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_common.rooms import commands, texts
from imc_common.rooms.event import DEVICE_CLIENT, OF_CONFERENCES, Event
from imc_common.rooms.pages import HEADERS, MAX_MESSAGE
from imc_common.rooms.relayed import Text
from imc_common.rooms.request import EntryError, RequestData
from imc_common.rooms.texts import KEEPS_MESSAGES as KEPT
from imc_common.rooms.texts import render
from imc_common.settings import Settings

ROOT = Path(__file__).parents[3]
ROOM = "chat-000@example.org"
ALICE, BOB, CAROL = "alice@example.org", "bob@example.org:5070", "carol@example.org"


def event(name: str, **fields: object) -> Event:
    """An event in the room, alice the actor."""
    plain = Event("1-0", 0, name, ROOM, (CAROL,), actor=ALICE, user=BOB)
    return replace(plain, **fields)  # type: ignore[arg-type]


def notice(name: str, **fields: object) -> str:
    """The one notice of an event."""
    [text] = render(event(name, **fields), Settings())
    assert text.content_type == "text/plain"
    assert text.body.startswith(b"*** ")
    return text.body[4:].decode("ascii")


def message(content_type: str, body: bytes, **settings: object) -> Text:
    """A message of alice as the others get it."""
    data = RequestData(content_type, body)
    [text] = render(event("message", data=data), Settings(**settings))  # type: ignore[arg-type]
    return text


INVITE = f"To invite them, send #invite {ALICE}"


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        (
            "created",
            {"detail": "private"},
            "You have created this private room. Send #help for a list of commands.",
        ),
        ("joined", {}, f"{ALICE} has joined."),
        ("already_member", {}, "You are already a member of this room."),
        ("join_refused", {}, f"{ALICE} wants to join, but this room is private. {INVITE}"),
        ("invited", {}, f"{ALICE} invites you to this room. Send #accept to join or #deny to decline."),
        ("invitation_sent", {}, f"You have invited {BOB}."),
        (
            "invitation_failed",
            {"reason": "no_response", "detail": "408"},
            f"Your invitation was withdrawn: {BOB} did not respond. Try again later.",
        ),
        (
            "invitation_failed",
            {"reason": "delivery_failed", "detail": "404"},
            f"Your invitation was withdrawn: {BOB} could not receive it. Try again later.",
        ),
        ("denied", {}, f"{ALICE} has declined the invitation."),
        ("you_were_removed", {"role": "member"}, f"{ALICE} has removed you from this room."),
        ("you_were_removed", {"role": "invited"}, f"{ALICE} has withdrawn your invitation to this room."),
        ("removed", {"role": "admin"}, f"{ALICE} has removed {BOB}."),
        ("removed", {"role": "invited"}, f"{ALICE} has withdrawn the invitation of {BOB}."),
        ("you_were_banned", {}, f"{ALICE} has banned you from this room."),
        ("banned", {}, f"{ALICE} has banned {BOB}."),
        ("unbanned", {}, f"{ALICE} has lifted the ban of {BOB}."),
        ("added", {}, f"{ALICE} has added {BOB}."),
        ("role_changed", {"role": "admin"}, f"{ALICE} has made {BOB} an admin."),
        ("role_changed", {"role": "member", "user": ALICE}, f"{ALICE} is now a plain member."),
        ("nickname_set", {"detail": "Al"}, f"{ALICE} is now called Al."),
        ("nickname_set", {"detail": ""}, f"{ALICE} has no nickname any more."),
        ("announce_set", {"detail": "off"}, "This room no longer announces joins and leaves."),
        ("announce_set", {"detail": "on"}, "This room announces joins and leaves."),
        ("left", {}, f"{ALICE} has left."),
        ("dropped", {}, f"{BOB} was away for too long and has been removed."),
        ("you_were_dropped", {}, "You were away for too long and have been removed from this room."),
        (
            "skipped",
            {"detail": "214"},
            "You have missed 214 earlier messages. To see them, send #history more",
        ),
        (
            "skipped",
            {"detail": "1"},
            "You have missed 1 earlier message. To see it, send #history more",
        ),
        ("more_said", {}, "There are more messages. To see them, send #history more"),
        ("destroyed", {}, f"{ALICE} has deleted this room."),
    ],
)
def test_an_event_is_told_in_plain_words(name: str, fields: dict[str, object], expected: str) -> None:
    """It says who did what to whom. The room is in From, so the notice does not name it."""
    assert notice(name, **fields) == expected


@pytest.mark.parametrize(
    ("name", "to", "fields", "expected"),
    [
        ("joined", ALICE, {}, f"You have joined this room. Send #help for a list of commands.{KEPT}"),
        ("denied", ALICE, {}, "You have declined the invitation."),
        ("removed", ALICE, {}, f"You have removed {BOB}. To keep them out, send #ban {BOB}"),
        ("banned", ALICE, {}, f"You have banned {BOB}. To undo this, send #unban {BOB}"),
        ("unbanned", ALICE, {}, f"You have lifted the ban of {BOB}."),
        ("removed", ALICE, {"role": "invited"}, f"You have withdrawn the invitation of {BOB}."),
        ("added", ALICE, {}, f"You have added {BOB}."),
        ("added", BOB, {}, f"{ALICE} has added you to this room. Send #exit to leave.{KEPT}"),
        ("role_changed", ALICE, {"role": "owner"}, f"You have made {BOB} an owner."),
        ("role_changed", BOB, {"role": "owner"}, f"{ALICE} has made you an owner."),
        ("role_changed", ALICE, {"role": "member", "user": ALICE}, "You are now a plain member."),
        ("nickname_set", ALICE, {"detail": "Al"}, "You are now called Al in this room."),
        ("nickname_set", ALICE, {"detail": ""}, "You have no nickname in this room."),
        ("left", ALICE, {}, "You have left this room."),
        ("destroyed", ALICE, {}, "You have deleted this room."),
    ],
)
def test_who_is_told_alone_is_you(name: str, to: str, fields: dict[str, object], expected: str) -> None:
    """An event to its actor or to the user concerned, and to nobody else, does not repeat their address."""
    assert notice(name, to=(to,), **fields) == expected


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"reason": "unknown_command", "command": "foo"},
            "#foo is not a command. Send #help for a list of commands."
            " To send a text that begins with #, write ##",
        ),
        (
            {"reason": "command_type", "command": "exit"},
            "#exit: commands are read in text/plain, text/html, message/cpim and multipart bodies only."
            " Send it as plain text.",
        ),
        ({"reason": "usage", "command": "modify"}, "Write it like this: #modify user role [room]"),
        ({"reason": "usage", "command": "leave"}, "Write it like this: #exit [room] [confirm]"),
        (
            {"reason": "no_room", "command": "join"},
            "#join must name a room here. Write it like this: #join room",
        ),
        (
            {"reason": "no_room", "command": "message"},
            "This address accepts only commands. Send #help for a list of commands.",
        ),
        (
            {"reason": "bad_argument", "command": "add", "detail": "x%00"},
            "#add: x%00 is not a valid address. Write it like this: #add user [room]",
        ),
        (
            {"reason": "not_member", "command": "message"},
            "Your message was not delivered: you are not a member of this room. To join it, send #join",
        ),
        (
            {"reason": "unknown_room", "command": "list"},
            "#list: this room does not exist. Send #rooms for a list of rooms.",
        ),
        (
            {"reason": "too_many_rooms", "command": "create", "user": ""},
            "#create: you cannot own more rooms. Delete one first: #destroy",
        ),
        ({"reason": "role_already", "command": "modify"}, f"#modify: {BOB} already has this role."),
        (
            {"reason": "role_already", "command": "modify", "user": ALICE},
            "#modify: you already have this role.",
        ),
        (
            {"reason": "user_is_member", "command": "invite", "user": ALICE},
            "#invite: you are already a member.",
        ),
        ({"reason": "too_many_rooms", "command": "modify"}, f"#modify: {BOB} cannot own more rooms."),
        (
            {"reason": "is_owner", "command": "remove"},
            f"#remove: owners cannot be removed. Take the role away first: #modify {BOB} member",
        ),
        (
            {"reason": "confirm_exit", "command": "exit"},
            "#exit: you are the last owner. To delete the room, send #exit confirm. To hand it over,"
            " send #modify user owner",
        ),
        (
            {"reason": "name_taken", "command": "nick", "detail": "Al"},
            "#nick: Al is taken. Choose another nickname.",
        ),
        (
            {"reason": "too_many_messages", "command": "message", "detail": "5"},
            "You are sending messages too fast. Try again in 5 s.",
        ),
        (
            {"reason": "too_many_deliveries", "command": "history", "detail": "5"},
            "You are asking for too many messages. Try again in 5 s.",
        ),
        (
            {"reason": "too_many_invitations", "command": "invite", "detail": "3541"},
            "You are inviting too many people. Try again in 60 min.",
        ),
    ],
)
def test_a_refusal_says_why_and_what_to_do(fields: dict[str, object], expected: str) -> None:
    """With the command, and for wrong usage the right one."""
    assert notice("refused", **fields) == expected


def all_notices() -> list[str]:
    """Every notice of one sentence or two there is, for each kind of recipient."""
    told = [(ALICE,), (BOB,), (ALICE, BOB)]
    sentences = [
        notice(name, to=to, role=role, reason="no_response", detail="7")
        for name in texts.NOTICES
        for to in told
        for role in ("member", "invited")
    ]
    commands_ = [
        notice("refused", reason=reason, command=word, detail="7")
        for reason in texts.REFUSALS
        for word in ("modify", "message")
    ]
    return sentences + commands_


def test_notices_are_short_and_do_not_name_the_room() -> None:
    """They are read on a phone, in the conversation with the room."""
    for text in all_notices():
        assert ROOM not in text
        assert len(text) <= 160, text
        assert text.count(". ") <= 2, text


def test_no_notice_has_a_sip_status_or_a_name_from_the_code() -> None:
    """Words with an underscore and status codes mean nothing to a reader."""
    for text in all_notices():
        assert not re.search(r"\b[45]\d\d\b|\w_\w|\bNone\b|[{}]", text), text


def test_the_configured_start_character_is_shown() -> None:
    """Wherever a notice names a command."""
    settings = Settings(imc_cmd_start_char="/")
    for each in (event("help"), event("invited"), event("refused", reason="usage", command="add")):
        body = render(each, settings)[0].body
        assert b"#" not in body
        assert b"/" in body


@pytest.mark.parametrize("reason", sorted(texts.REFUSALS))
def test_every_reason_gives_a_whole_sentence(reason: str) -> None:
    """No field is left open, for commands and for messages."""
    for command in ("modify", "message"):
        text = notice("refused", reason=reason, command=command, detail="x", role="admin")
        assert "{" not in text
        assert len(text) > 10


def test_there_is_a_text_for_every_reason_of_the_parser() -> None:
    """What the edge refuses is told."""
    assert set(commands.REASONS) <= texts.REFUSALS


def test_an_unknown_event_or_reason_is_an_entry_error() -> None:
    """It is not delivered as nonsense, but told apart as an entry that cannot be handled."""
    with pytest.raises(EntryError, match="'nonsense'"):
        render(event("nonsense"), Settings())
    with pytest.raises(EntryError, match="'nonsense'"):
        render(event("refused", reason="nonsense"), Settings())


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "Text/Plain; charset=UTF-8",
        'text/plain ;charset="iso-8859-1"',
        "text/plain;charset=latin1",
    ],
)
def test_plain_text_gets_the_sender_in_front(content_type: str) -> None:
    """Bytes before bytes: the body is not decoded, so invalid UTF-8 goes through unchanged."""
    text = message(content_type, b"caf\xe9\xff")
    assert text == Text(content_type, b"<alice@example.org>: caf\xe9\xff")


@pytest.mark.parametrize(
    "content_type",
    [
        "text/html",
        "message/cpim",
        "application/im-iscomposing+xml",
        "multipart/mixed;boundary=x",
        "text/plainer",
        "text/plain;charset=utf-16",
        "text/plain;charset=utf-16le",
        "text/plain;charset=utf-7",
        "text/plain;charset=x-own",
        "text/plain;charset=idna",
        "text/plain;charset=punycode",
        "text/plain;charset=rot13",
        "text/plain;charset=undefined",
        "text/plain;charset=cp037",
        "text/plain;charset=unicode_escape",
    ],
)
def test_other_bodies_go_through_byte_for_byte(content_type: str) -> None:
    """Other types, and charsets in which a prefix would make the text unreadable or that are unknown."""
    assert message(content_type, b"\x00\xff<x/>") == Text(content_type, b"\x00\xff<x/>")


def test_the_prefix_is_written_in_the_charset_of_the_message() -> None:
    """And what that charset does not have is replaced."""
    text = message("text/plain;charset=iso-8859-1", b"hi", sender_prefix="é€ {user}: ")
    assert text.body == b"\xe9? alice: hi"


def named(display_name: str, template: str = "{name}: ") -> bytes:
    """What others read of a message of alice under this display name."""
    data = RequestData("text/plain", b"hi", display_name=display_name)
    [text] = render(event("message", data=data), Settings(sender_prefix=template))
    return text.body


def test_a_prefix_shows_the_senders_name() -> None:
    """The display name where there is one, else the user part."""
    assert named("Alice van Dyk") == b"Alice van Dyk: hi"
    assert named("") == b"alice: hi"
    assert named("Alice", "{name} <{user}@{host}> ") == b"Alice <alice@example.org> hi"
    assert named("Jürgen") == "Jürgen: hi".encode()


def test_a_nickname_comes_before_the_display_name() -> None:
    """It is the name that the room knows."""
    data = RequestData("text/plain", b"hi", display_name="Alice van Dyk")
    for template, expected in (("{name}: ", b"Al: hi"), ("<{user}@{host}>: ", b"<alice@example.org>: hi")):
        [text] = render(event("message", data=data, nick="Al"), Settings(sender_prefix=template))
        assert text.body == expected


@pytest.mark.parametrize(
    "name", ["bob@example.org", "bob\uff20example.org", "*** Bob has left", "+4915112345678"]
)
def test_no_address_or_notice_is_forged_by_a_display_name(name: str) -> None:
    """Such a name is not shown: the user part is."""
    assert named(name) == b"alice: hi"


def test_without_a_prefix_plain_text_goes_through_too() -> None:
    """An empty setting turns it off."""
    assert message("text/plain", b"hi", sender_prefix="").body == b"hi"


def test_members_are_listed_by_rank_then_address() -> None:
    """Owners and admins are marked; the invited are not shown."""
    given_ = "member:zoe@h admin:carl@h invited:ian@h owner:bob@h member:abe@h owner:al@h"
    lines = notice("members", list=given_).split("\n")
    assert lines == ["Members:", "al@h (owner)", "bob@h (owner)", "carl@h (admin)", "abe@h", "zoe@h"]


def test_nicknames_stand_before_the_address() -> None:
    """Who is listed is found by either; the order is that of addresses."""
    lines = notice("members", list="member:zoe@h|Al member:abe@h|Zed owner:bob@h|Bo").split("\n")
    assert lines == ["Members:", "Bo <bob@h> (owner)", "Zed <abe@h>", "Al <zoe@h>"]


def test_no_address_looks_like_one_with_a_role() -> None:
    """The role stands behind a space, which no address has: `*bob` is only a name."""
    lines = notice("members", list="member:*bob@h member:a(owner)@h").split("\n")
    assert lines == ["Members:", "*bob@h", "a(owner)@h"]


def test_bans_are_listed_by_address() -> None:
    """Or it says that there are none."""
    assert notice("bans", list="zoe@h abe@h") == "Banned:\nabe@h\nzoe@h"
    assert notice("bans") == "Nobody is banned from this room."


def test_rooms_are_listed_by_address() -> None:
    """Private ones are marked, and rooms left out are counted."""
    lines = notice("rooms", list="public:b@h private:a@h", more=7).split("\n")
    assert lines == ["Rooms:", "a@h (private)", "b@h", "and 7 more"]
    assert notice("rooms") == "There are no rooms yet. To create one, send #create room"


def test_help_lists_every_command_with_its_arguments() -> None:
    """As a person types them, in as many MESSAGEs as they need."""
    parts = [text.body.decode().split("\n")[1:] for text in render(event("help"), Settings())]
    assert [line.partition(" - ")[0] for part in parts for line in part] == [
        command.usage("#") for command in commands.COMMANDS
    ]


@pytest.mark.parametrize(
    ("name", "kind", "title"), [("members", "member", "Members"), ("rooms", "public", "Rooms")]
)
@given(count=st.integers(1, 300), length=st.integers(1, 60), extra=st.integers(0, 10))
def test_long_lists_are_cut_to_fit(
    name: str, kind: str, *, title: str, count: int, length: int, extra: int
) -> None:
    """No body passes what 1,300 bytes leave for it, no line is lost or doubled, and parts are numbered."""
    members = [f"{'x' * length}{number:03d}@h" for number in range(count)]
    settings = Settings(extra_hdrs=tuple(f"X-{number}: y" for number in range(extra)))
    found = render(event(name, list=" ".join(f"{kind}:{member}" for member in members)), settings)
    shown = []
    for number, text in enumerate(found, 1):
        assert len(text.body) <= MAX_MESSAGE - HEADERS - len(ROOM) - 2 * len(CAROL) - extra * 6
        head, *lines = text.body.decode().split("\n")
        part = f", part {number} of {len(found)}" if len(found) > 1 else ""
        assert head == f"*** {title}{part}:"
        shown += lines
    assert shown == members


def test_however_many_extra_headers_a_list_still_moves_on() -> None:
    """Each part shows at least one line, even one longer than a part should be."""
    settings = Settings(extra_hdrs=("X: " + "y" * 900,))
    long = [f"{'x' * 240}{number}@h" for number in range(3)]
    assert len(render(event("members", list=" ".join(f"member:{each}" for each in long)), settings)) == 3


def test_an_operators_notice_is_the_operators_words() -> None:
    """After the mark of a notice."""
    [text] = render(event("notice", data=RequestData("text/plain", "Grüße".encode())), Settings())
    assert text == Text("text/plain", "*** Grüße".encode())


def test_a_notice_to_a_device_is_wrapped_and_speaks_to_its_user() -> None:
    """The client of a conference shows only CPIM."""
    device = "alice@example.org;gr=urn:uuid:1"
    event = Event(
        "1-0", 0, "added", "r@h", (device,), actor="alice@example.org", user="bob@h", client=DEVICE_CLIENT
    )
    (text,) = render(event, Settings(), "m1")
    assert text.content_type == "message/cpim"
    assert text.body.endswith(b"You have added bob@h.")
    assert b"From: <sip:r@h>" in text.body


@pytest.mark.parametrize("name", sorted(OF_CONFERENCES))
def test_requests_of_conferences_are_no_texts(name: str) -> None:
    assert render(Event("1-0", 0, name, "r@h", ()), Settings()) == []


@pytest.mark.parametrize(
    ("wish", "age", "keeps"),
    [
        ("3", 7 * 86400, "the last 3 messages, for 7 days."),
        ("1", 86400, "the last message, for 1 day."),
        ("99999", 7 * 86400, "the last 500 messages, for 7 days."),
        ("2d", 7 * 86400, "the last 500 messages, for 2 days."),
        ("30d", 7 * 86400, "the last 500 messages, for 7 days."),
        ("30d", 36 * 3600, "the last 500 messages, for 36 hours."),
        ("20", 600, "the last 20 messages, for 10 minutes."),
        ("20", 1.5 * 86400 + 0.3, "the last 20 messages, for 36 hours."),
        ("20", 90.5, "the last 20 messages, for 91 s."),
        ("20", 0, "the last 20 messages."),
        ("30d", 0, "the last 500 messages, for 30 days."),
        ("off", 7 * 86400, "nothing. What was kept is deleted."),
    ],
)
def test_members_are_told_what_a_room_really_keeps(wish: str, age: float, keeps: str) -> None:
    """Within what the operator allows."""
    settings = Settings(history_max_messages=500, history_max_age=age)
    event = Event("1-0", 3, "history_set", "r@example.org", (BOB,), actor=ALICE, detail=wish)
    (text,) = render(event, settings)
    assert text.body.decode() == f"*** {ALICE} has changed what this room keeps: {keeps}"
