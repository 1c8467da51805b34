"""The command line in a body."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imc_common.rooms import commands
from imc_common.rooms.commands import BY_WORD, COMMANDS, MAX_TEXT, REASONS, WISH, CommandParser, Parsed
from imc_common.settings import Settings

ROOT = Path(__file__).parents[3]
ROOM = "chat-000@example.org"
MANAGER = "chat-manager@example.org"


def parse(body: str | bytes, to: str = ROOM, **settings: object) -> Parsed:
    """The body read under the given settings."""
    data = body.encode() if isinstance(body, str) else body
    return CommandParser(Settings(**settings)).parse(data, to)  # type: ignore[arg-type]


def refused(body: str | bytes, to: str = ROOM, **settings: object) -> str:
    """The reason for which the body is refused."""
    parsed = parse(body, to, **settings)
    assert parsed.type == "refused", parsed
    assert parsed.reason in REASONS
    return parsed.reason


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_every_command_is_taken_by_each_of_its_names(command: object) -> None:
    """In any case, with its least arguments, about the room in To."""
    for word, found in BY_WORD.items():
        if found is command:
            given_ = {"user": "bob", "role": "admin", "on/off": "Off", "history": "history", WISH: "off"}
            rest = " ".join(given_[name] for name in found.arguments if name in given_)
            for spelt in (word, word.upper(), word.title()):
                parsed = parse(f"#{spelt} {rest}")
                assert (parsed.type, parsed.room) == (found.name, ROOM)


def test_a_room_argument_is_taken_in_three_forms() -> None:
    """As a URI, as user@host, and as a user part in the host of To."""
    for text in ("sip:chat-001@Example.ORG;transport=tcp", "chat-001@example.org", "chat-001"):
        assert parse(f"#join {text}").room == "chat-001@example.org"
    assert parse("#join chat-001", "chat-000@127.0.0.1:5060").room == "chat-001@127.0.0.1:5060"


def test_a_user_argument_is_taken_in_three_forms() -> None:
    """As a room argument is."""
    for text in ("sip:bob@Example.ORG", "bob@example.org", "bob"):
        assert parse(f"#invite {text}").user == "bob@example.org"


def test_a_user_comes_before_the_room() -> None:
    """`#invite user room`, and `#modify user role room` with the role in any case."""
    assert parse("#invite bob chat-001") == Parsed("invite", "chat-001@example.org", user="bob@example.org")
    expected = Parsed("modify", "chat-001@example.org", user="bob@example.org", role="owner")
    assert parse("#modify bob OWNER chat-001") == expected


def test_create_private_takes_the_room_from_to() -> None:
    """The word is the flag where it comes last; a room called private can still be made."""
    assert parse("#create private") == Parsed("create", ROOM, private=True)
    assert parse("#create chat-001 PRIVATE") == Parsed("create", "chat-001@example.org", private=True)
    assert parse("#create private private") == Parsed("create", "private@example.org", private=True)
    assert parse("#create chat-001") == Parsed("create", "chat-001@example.org")


def test_exit_takes_a_confirmation() -> None:
    """Last, as the flag of create; a room called confirm can still be left."""
    assert parse("#exit confirm") == Parsed("exit", ROOM, text="confirm")
    assert parse("#leave chat-001 Confirm") == Parsed("exit", "chat-001@example.org", text="confirm")
    assert parse("#exit confirm@example.org") == Parsed("exit", "confirm@example.org")
    assert parse("#join confirm") == Parsed("join", "confirm@example.org")


def test_a_nickname_is_taken_or_given_up() -> None:
    """The name comes first; without one the member has none."""
    assert parse("#nick Jürgen") == Parsed("nick", ROOM, text="Jürgen")
    assert parse("#nick Al chat-001") == Parsed("nick", "chat-001@example.org", text="Al")
    assert parse("#nick") == Parsed("nick", ROOM)


@pytest.mark.parametrize(
    "name", ["bob@example.org", "+4915112345678", "***", "sip:bob", "a" * 33, b"\xff\xfe"]
)
def test_a_nickname_that_could_mislead_is_refused(name: str | bytes) -> None:
    """With the name, made printable."""
    parsed = parse(b"#nick " + (name.encode() if isinstance(name, str) else name))
    assert (parsed.type, parsed.reason) == ("refused", "bad_name")
    assert parsed.detail.isascii()


def test_announce_takes_on_or_off() -> None:
    """In any case, before the room."""
    assert parse("#announce OFF chat-001") == Parsed("announce", "chat-001@example.org", text="off")
    assert parse("#announce on") == Parsed("announce", ROOM, text="on")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\nsecond line", "\r\n#destroy", "  \t\r\n\r\n"])
def test_what_follows_the_first_line_is_ignored(end: str) -> None:
    """Clients append signatures and blank lines."""
    assert parse("#join \t chat-001" + end) == Parsed("join", "chat-001@example.org")


@pytest.mark.parametrize(
    "body",
    [
        "hello", "chat #join", b"\xff\xfe#\x00", "\u201c#join\u201d", "\u3042#join",
        "#", "# Shopping", "#1 reason", "#-)", "#\xfcber", "# of us", " #1",
    ],
)  # fmt: skip
def test_any_other_body_is_a_message(body: str | bytes) -> None:
    """A command starts with the start character and a letter; a number sign alone stands for many things."""
    assert parse(body) == Parsed("message", ROOM)


@pytest.mark.parametrize(
    "blank", [" ", "\t \t", "\n", "\r\n\r\n", "\ufeff", "\xa0", "\u200b", "\u3000", "\ufeff \r\n"]
)
def test_blanks_before_a_command_do_not_count(blank: str) -> None:
    """Keyboards put a space there, and programs a byte order mark or a line end."""
    assert parse(f"{blank}#join chat-001") == Parsed("join", "chat-001@example.org")
    assert parse(f"{blank}hello") == Parsed("message", ROOM)
    assert parse(f"{blank}##1") == Parsed("message", ROOM, body=b"#1")


@pytest.mark.parametrize("body", ["", " ", "\r\n", "\t\n ", "\ufeff", "\xa0\u200b"])
def test_a_blank_body_is_nothing(body: str) -> None:
    """There is no text that anybody could read, in a room or at the command address."""
    assert parse(body).type == "nothing"
    assert parse(body, MANAGER).type == "nothing"


@pytest.mark.parametrize("text", ["tag", "list is a command", "", "1", " x", "#list"])
def test_two_start_characters_begin_a_message(text: str) -> None:
    """It is sent without the first of them."""
    assert parse(f"##{text}") == Parsed("message", ROOM, body=f"#{text}".encode())
    assert parse(f"//{text}", imc_cmd_start_char="/").body == f"/{text}".encode()
    assert refused(f"##{text}", MANAGER) == "no_room"


def test_the_start_character_can_be_another() -> None:
    """Then `#` is text."""
    assert parse("/join", imc_cmd_start_char="/").type == "join"
    assert parse("#join", imc_cmd_start_char="/").type == "message"


@pytest.mark.parametrize(
    ("body", "word"),
    [
        ("# join", ""),
        ("#\tEXIT now", ""),
        ("#foo bar", "foo"),
        ("#jo\x00in", "jo\\x00in"),
        ("#SIPchat rules", "SIPchat"),
    ],
)
def test_an_unknown_word_is_refused_with_the_word(body: str, word: str) -> None:
    """Made printable, so that the notice shows it without harm."""
    assert parse(body) == Parsed("refused", ROOM, reason="unknown_command", command=word)


def test_a_long_unknown_word_is_cut() -> None:
    """A notice is no place for kilobytes of somebody's text."""
    assert len(parse("#" + "x" * 5000).command) == 32


@pytest.mark.parametrize(
    "body",
    [
        "#invite",
        "#remove",
        "#add",
        "#modify bob",
        "#modify bob king",
        "#join chat-001 chat-002",
        "#create chat-001 chat-002",
        "#rooms all",
        "#help join",
        "#announce",
        "#announce perhaps",
        "#exit confirm confirm chat-001",
        "#modify bob admin chat-001 chat-002",
    ],
)
def test_wrong_usage_is_refused_with_the_command(body: str) -> None:
    """The notice can then show how it is used."""
    parsed = parse(body)
    assert (parsed.reason, parsed.command) == ("usage", body[1:].split(maxsplit=1)[0])


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> None:
    """A made-up command `#say user [text]` about the room in To."""
    command = commands.RoomCommand("say", (), ("user", "[text]"), "", "say")
    monkeypatch.setitem(BY_WORD, "say", command)


@pytest.mark.usefixtures("say")
def test_a_text_is_all_that_remains_of_the_line() -> None:
    """Words, blanks and quotes as they are, in any language; it may be missing."""
    for text in (
        "hi",
        "Grüße  'an' alle",
        "#join",
        "नमस्ते\u200c",
        "\U0001f468\u200d\U0001f469",
        "x" * MAX_TEXT,
    ):
        assert parse(f"#say bob  {text} \r\nmore") == Parsed("say", ROOM, user="bob@example.org", text=text)
    assert parse("#say bob") == Parsed("say", ROOM, user="bob@example.org")


@pytest.mark.usefixtures("say")
@pytest.mark.parametrize(
    "text", ["x" * (MAX_TEXT + 1), "a\x00b", "a\x1b[31mb", "a\rb", "a\u2028b", "a\u202eb", "\ue000"]
)
def test_a_text_that_is_too_long_or_controls_what_others_see_is_refused(text: str) -> None:
    """The notice says how long it may be."""
    parsed = parse(f"#say bob {text}")
    assert (parsed.type, parsed.reason, parsed.detail) == ("refused", "bad_text", str(MAX_TEXT))


@pytest.mark.usefixtures("say")
def test_a_command_that_takes_no_room_has_none_at_the_command_address() -> None:
    """It concerns the room in To only."""
    assert refused("#say bob hi", MANAGER) == "no_room"


@pytest.mark.parametrize(
    "argument",
    [
        "a%0d%0ab", "a%0D", "a\x00b", "a\rb", "a\x0bb", "a\x85b", "a\u2028b", "a<b", "a>b",
        "bob@", "@example.org", "bob@exa_mple!.org", "<>", "sip:bob", "bob@[::1", "x" * 300, "{0}:a",
    ],
)  # fmt: skip
def test_an_argument_that_is_no_address_is_refused(argument: str | bytes) -> None:
    """Line breaks, their escapes and other controls never get past the parser, in user or room."""
    data = argument.encode() if isinstance(argument, str) else argument
    for command in (b"#invite ", b"#join "):
        parsed = parse(command + data)
        assert (parsed.type, parsed.reason) == ("refused", "bad_argument")
        assert parsed.detail.isascii()
        assert parsed.detail.isprintable()
        assert len(parsed.detail) <= 100


@pytest.mark.parametrize(
    ("text", "user"),
    [
        ("o'brien", "o'brien"), ("o%27brien", "o'brien"), ('al"ice', "al%22ice"), ("al%22ice", "al%22ice"),
        ("a%00b", "a%00b"), ("a%7fb", "a%7Fb"), ("alice#1", "alice%231"), ("alice[1]", "alice%5B1%5D"),
        ("`bob`", "%60bob%60"), ("a{b|c}", "a%7Bb%7Cc%7D"), ("alice%20liddell", "alice%20liddell"),
        ("alice%40home", "alice%40home"), ("王", "%E7%8E%8B"), ("*{", "*%7B"), ("a\\b", "a%5Cb"),
    ],
)  # fmt: skip
def test_every_user_that_can_be_a_member_can_be_named(text: str, user: str) -> None:
    """As the list of members shows it, as a person types it, and in brackets as clients show it."""
    address = f"{user}@example.org"
    for form in (text, f"{text}@example.org", f"<sip:{text}@example.org>", address):
        assert parse(f"#remove {form}").user == address
        assert parse(f"#join {form}").room == address


def test_a_room_in_a_foreign_domain_is_refused() -> None:
    """`domains` holds for arguments as it does for To; a user may be from anywhere."""
    served = ("example.org",)
    assert refused("#join chat-001@example.com", domains=served) == "foreign_domain"
    assert parse("#join chat-001@example.org:5070", domains=served).type == "join"
    assert parse("#invite bob@example.com", domains=served).user == "bob@example.com"


def test_a_room_that_does_not_fit_the_pattern_is_refused() -> None:
    """`room_pattern` is for the whole user part."""
    assert refused("#join chat-1x", room_pattern="chat-[0-9]+") == "bad_room"
    assert parse("#join chat-1", room_pattern="chat-[0-9]+").type == "join"


def test_the_command_address_has_no_room() -> None:
    """A message to it, or a command that names no other room, is refused; one that does is taken."""
    assert parse("hello", MANAGER) == Parsed("refused", MANAGER, reason="no_room", command="message")
    assert refused("#join", MANAGER) == "no_room"
    assert refused("#create private", MANAGER) == "no_room"
    assert refused("#join chat-manager") == "no_room"
    assert parse("#join chat-001", MANAGER) == Parsed("join", "chat-001@example.org")
    assert parse("#help", MANAGER) == Parsed("help", MANAGER)
    assert parse("#rooms", MANAGER) == Parsed("rooms", MANAGER)


def test_without_a_manager_the_name_is_a_room_like_any_other() -> None:
    """An empty setting turns the command address off."""
    assert parse("hello", MANAGER, manager="") == Parsed("message", MANAGER)


def test_the_command_address_cannot_be_a_user() -> None:
    """Every message would lead to a notice."""
    assert refused("#invite chat-manager") == "not_a_user"


def test_a_body_of_another_type_is_a_message_even_if_it_begins_like_a_command() -> None:
    """Only text is read for commands."""
    assert CommandParser(Settings()).message(ROOM) == Parsed("message", ROOM)
    assert CommandParser(Settings()).message(MANAGER).reason == "no_room"


@pytest.mark.parametrize("body", [b"#exit", b" #LIST", b"#join chat-001\r\n"])
def test_a_command_in_a_type_that_is_not_read_is_refused(body: bytes) -> None:
    """Nobody else is to read it; other texts of such a type are messages."""
    parser = CommandParser(Settings())
    assert parser.unread(body, ROOM).reason == "command_type"
    assert parser.unread(b"# Heading", ROOM) == parser.unread(b"#title", ROOM) == Parsed("message", ROOM)


@given(st.binary(max_size=60).map(lambda tail: b"#" + tail) | st.binary(max_size=60))
def test_any_body_gives_a_request_that_is_safe_to_show(body: bytes) -> None:
    """Nothing raises; what comes from the body is printable ASCII."""
    parsed = parse(body)
    assert parsed.type in {"message", "nothing", "refused", *(command.name for command in COMMANDS)}
    for text in (parsed.room, parsed.user, parsed.command, parsed.detail):
        assert text.isascii()
        assert text == "" or text.isprintable()


def test_the_page_of_commands_follows_the_table() -> None:
    """docs/commands.md has one row per command, in order, with arguments and further names."""
    page = (ROOT / "docs" / "commands.md").read_text()
    rows = re.findall(r"^\| `(#[^`]+)` \|([^|]*)\|", page, re.MULTILINE)
    found = [(usage, tuple(re.findall(r"`#(\w+)`", also))) for usage, also in rows]
    assert found == [(command.usage("#"), command.aliases) for command in COMMANDS]
