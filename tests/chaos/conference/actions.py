"""What a phone asks of rooms, as liblinphone does. Each returns the final status, 0 for none."""

from __future__ import annotations

import asyncio
from functools import partial

from tests.chaos.conference.phone import Phone, Place, Session, Subscription
from tests.chaos.conference.wire import Headers, Message

DOMAIN = "chaos.example"
FACTORY = f"sip:conference-factory@{DOMAIN}"
EXPIRES = 600
SPECS = '+org.linphone.specs="ephemeral/1.1,groupchat/1.1"'
LEFT = (200,)
"""The response to a BYE, also if the first one was lost."""
_LISTS = ("Content-Type", "application/resource-lists+xml")


def _status(answer: Message | None) -> int:
    return answer.status if answer else 0


def _list(*uris: str) -> bytes:
    entries = "".join(f'<p1:entry uri="{uri}"/>' for uri in uris)
    namespace = 'xmlns:p1="urn:ietf:params:xml:ns:resource-lists"'
    return f"<p1:resource-lists {namespace}><p1:list>{entries}</p1:list></p1:resource-lists>".encode()


def aor(user: str) -> str:
    return f"sip:{user}@{DOMAIN}"


async def create(phone: Phone, subject: str, users: list[str], marks: Headers = ()) -> str:
    """INVITE to the factory: the address of the new room, empty if there is none."""
    headers = [("Require", "recipient-list-invite"), ("Subject", subject), _LISTS, *marks]
    headers.append(("Content-Disposition", "recipient-list"))
    answer, session = await _invite(phone, FACTORY, headers, _list(*map(aor, users)))
    if answer is None or answer.status != 200 or session is None:
        phone.problems.append(f"{phone.name}: INVITE to the factory ended with {_status(answer)}")
        return ""
    room = answer.address("contact").removeprefix("sip:")
    place = phone.place(room, phone.gruu)
    _enter(phone, place, session)
    return room


async def enter(phone: Phone, place: Place) -> int:
    """INVITE to a room that the phone shows, without a session: it was started again."""
    lives = phone.lives
    answer, session = await _invite(phone, f"sip:{place.room}", [])
    if session is not None and phone.lives == lives and place.session is None:
        _enter(phone, place, session)
    return _status(answer)


def _enter(phone: Phone, place: Place, session: Session) -> None:
    place.session = session
    place.is_in = True
    if place.subscription is None:
        phone.subscribe(phone, place)


async def _invite(
    phone: Phone, uri: str, further: Headers, body: bytes = b""
) -> tuple[Message | None, Session | None]:
    call_id, tag = phone.requests.new_id("c"), phone.requests.new_id("f")
    local = aor(phone.user)
    headers = [
        ("From", f"<{local}>;tag={tag}"),
        ("To", f"<{uri}>"),
        ("Call-ID", call_id),
        ("CSeq", "1 INVITE"),
        ("Contact", f"<{phone.gruu}>;text"),
        *further,
    ]
    phone.requests.acknowledge(call_id, 1, partial(_ack, phone))
    answer = await phone.requests.send("INVITE", uri, headers, body)
    if answer is None or answer.status != 200:
        return answer, None
    return answer, Session(call_id, tag, answer.tag("to"), local, uri)


def _ack(phone: Phone, answer: Message) -> None:
    headers = [("From", answer.get("from")), ("To", answer.get("to")), ("Call-ID", answer.get("call-id"))]
    phone.requests.send_ack(answer.address("contact"), [*headers, ("CSeq", f"{answer.cseq} ACK")])


def _in_dialog(dialog: Session, method: str) -> Headers:
    dialog.cseq += 1
    return [
        ("From", f"<{dialog.local_uri}>;tag={dialog.local_tag}"),
        ("To", f"<{dialog.remote_uri}>;tag={dialog.remote_tag}"),
        ("Call-ID", dialog.call_id),
        ("CSeq", f"{dialog.cseq} {method}"),
    ]


async def rename(phone: Phone, place: Place, subject: str) -> int:
    """A re-INVITE with a new subject."""
    session = place.session
    if session is None:
        return 0
    headers = _in_dialog(session, "INVITE")
    phone.requests.acknowledge(session.call_id, session.cseq, partial(_ack, phone))
    further = [("Contact", f"<{phone.gruu}>;text"), ("Subject", subject)]
    return _status(await phone.requests.send("INVITE", f"sip:{place.room}", [*headers, *further]))


async def leave(phone: Phone, place: Place) -> int:
    """BYE: the user leaves the room."""
    session = place.session
    if session is None:
        return 0
    status = _status(await phone.requests.send("BYE", f"sip:{place.room}", [*_in_dialog(session, "BYE")]))
    if status in LEFT:
        phone.left(place)
    return status


async def hang_up(phone: Phone, session: Session, room: str) -> None:
    """BYE in a session that the device gives up. Whatever the response, it has ended (RFC 3261 §15.1.1)."""
    await phone.requests.send("BYE", f"sip:{room}", [*_in_dialog(session, "BYE")])


async def refer(phone: Phone, room: str, target: str) -> int:
    """REFER: ``target`` is a value of Refer-To."""
    return await _alone(phone, "REFER", room, [("Refer-To", target)])


async def say(phone: Phone, place: Place, mark: str) -> int:
    """A message in CPIM."""
    return await _write(phone, place, mark, f"mark={mark}")


async def open_room(phone: Phone, place: Place) -> int:
    """The command that asks for the room on the user's other devices."""
    return await _write(phone, place, phone.requests.new_id("m"), "#open")


async def _write(phone: Phone, place: Place, message_id: str, text: str) -> int:
    body = (
        f"From: <{place.name}>\r\nTo: <sip:{place.room}>\r\nDateTime: 2026-11-29T01:33:53Z\r\n"
        f"NS: imdn <urn:ietf:params:imdn>\r\nimdn.Message-ID: {message_id}\r\n"
        "imdn.Disposition-Notification: positive-delivery, negative-delivery, display\r\n\r\n"
        f"Content-Type: text/plain\r\nContent-Length: {len(text)}\r\n\r\n{text}"
    ).encode()
    return await _alone(
        phone, "MESSAGE", place.room, [("Content-Type", "message/cpim")], body=body, sender=place.name
    )


async def _alone(
    phone: Phone, method: str, room: str, further: Headers, *, body: bytes = b"", sender: str = ""
) -> int:
    """A request outside any dialog. A MESSAGE has no Contact (RFC 3428 §4)."""
    headers = [
        ("From", f"<{sender or aor(phone.user)}>;tag={phone.requests.new_id('f')}"),
        ("To", f"<sip:{room}>"),
        ("Call-ID", phone.requests.new_id("c")),
        ("CSeq", f"20 {method}"),
        *([("Contact", f"<{phone.gruu}>")] if method != "MESSAGE" else []),
        *further,
    ]
    return _status(await phone.requests.send(method, f"sip:{room}", headers, body))


async def register(phone: Phone, expires: int) -> int:
    """The proxy's copy of the REGISTER of this device."""
    uri = aor(phone.user)
    headers = [
        ("From", f"<{uri}>;tag={phone.requests.new_id('f')}"),
        ("To", f"<{uri}>"),
        ("Call-ID", phone.requests.new_id("c")),
        ("CSeq", "1 REGISTER"),
        ("Contact", f'<{uri};transport=udp>;+sip.instance="<{phone.instance}>";{SPECS}'),
        ("Expires", str(expires)),
    ]
    return _status(await phone.requests.send("REGISTER", f"sip:{DOMAIN}", headers))


# --- rosters


async def subscribe(phone: Phone, place: Place) -> int:
    """SUBSCRIBE to the roster of one room, in a new dialog."""
    made = _new_subscription(phone, f"sip:{place.room}", place.name, (place.room,))
    place.subscription = made
    return await refresh(phone, made, {place.room: place.roster.version})


async def subscribe_to_list(phone: Phone, places: list[Place]) -> int:
    """One SUBSCRIBE for the rosters of several rooms, as after a restart."""
    made = _new_subscription(phone, FACTORY, phone.gruu, tuple(place.room for place in places))
    made.is_list = True
    phone.keep_list(made)
    return await refresh(phone, made, {place.room: place.roster.version for place in places})


async def unsubscribe(phone: Phone, place: Place) -> int:
    """SUBSCRIBE with Expires 0."""
    made = place.subscription
    if made is None:
        return 0
    return await refresh(phone, made, {place.room: place.roster.version}, expires=0)


async def end_soon(phone: Phone, made: Subscription) -> None:
    """SUBSCRIBE with Expires 0, as soon as liblinphone sends it after a BYE for which it got no ACK."""
    await asyncio.sleep(0.06)
    await refresh(phone, made, dict.fromkeys(made.rooms, 0), expires=0)


async def refresh(
    phone: Phone, made: Subscription, versions: dict[str, int], *, expires: int = EXPIRES
) -> int:
    """SUBSCRIBE in the dialog that there is, or to begin one."""
    if made.remote_tag:
        made.cseq += 1
    to = f"<{made.target}>" + (f";tag={made.remote_tag}" if made.remote_tag else "")
    headers = [
        ("From", f"<{made.local_uri}>;tag={made.local_tag}"),
        ("To", to),
        ("Call-ID", made.call_id),
        ("CSeq", f"{made.cseq} SUBSCRIBE"),
        ("Contact", f"<{phone.gruu}>"),
        ("Event", "conference"),
        ("Expires", str(expires)),
    ]
    body = b""
    if made.is_list:
        body = _list(*(f"sip:{room};Last-Notify={version}" for room, version in versions.items()))
        headers += [("Require", "recipient-list-subscribe"), _LISTS]
        headers.append(("Content-Disposition", "recipient-list"))
    else:
        headers.append(("Last-Notify-Version", str(next(iter(versions.values())))))
    answer = await phone.requests.send("SUBSCRIBE", made.target, headers, body)
    phone.note(
        f"SUBSCRIBE {made.call_id} {made.cseq} of {', '.join(made.rooms)} for {expires} s: {_status(answer)}"
    )
    if answer is not None and answer.status == 200:
        made.remote_tag = answer.tag("to")
    else:
        for room in made.rooms:
            place = phone.places[room]
            if place.subscription is made:
                place.subscription = None
    return _status(answer)


def _new_subscription(phone: Phone, target: str, local: str, rooms: tuple[str, ...]) -> Subscription:
    call_id, tag = phone.requests.new_id("s"), phone.requests.new_id("f")
    return Subscription(call_id, tag, local, target, rooms)
