"""The states of the non-INVITE client transaction (RFC 3261 §17.1.2, figure 6), and its timers.

``TRANSITIONS`` is the only place that says how a transaction changes state.

Timers are those of RFC 3261 §17.1.2.2: E (retransmission, unreliable transports only) starts at T1 and
doubles up to T2, in *proceeding* it is T2; F ends the transaction after 64*T1; K keeps a completed one for
T4, so that retransmissions of the response are absorbed.
"""

from __future__ import annotations

from typing import Final, Literal

from imc_edge.delivering.timer_wheel import ticks

T1: Final = 0.5
T2: Final = 4.0
T4: Final = 5.0

State = Literal["trying", "proceeding", "completed", "terminated"]
Input = Literal[
    "provisional",
    "final",
    "final to a request sent once",
    "timer E",
    "timer F",
    "timer K",
    "transport error",
    "cancelled",
    "abandoned",
]
Action = Literal["", "retransmit", "pass up", "give up"]

TRANSITIONS: Final[dict[State, dict[Input, tuple[State, Action]]]] = {
    "trying": {
        "provisional": ("proceeding", ""),
        "final": ("completed", "pass up"),
        # RFC 3261 §17.1.2.2: "for reliable transports" Timer K is zero, so *completed* ends at once. The
        # same is done for a request that went over UDP only once: the other side had no reason to send its
        # response again, so there is nothing to absorb; a copy that the network makes is dropped as a stray
        # one.
        "final to a request sent once": ("terminated", "pass up"),
        "timer E": ("trying", "retransmit"),
        "timer F": ("terminated", "give up"),
        "transport error": ("terminated", "give up"),
        # not in the RFC: the user does not want the request to be sent any more
        "cancelled": ("terminated", "give up"),
        # nor this: the user sends the request again in another transaction
        "abandoned": ("terminated", ""),
    },
    "proceeding": {
        "provisional": ("proceeding", ""),
        "final": ("completed", "pass up"),
        "final to a request sent once": ("terminated", "pass up"),
        "timer E": ("proceeding", "retransmit"),
        "timer F": ("terminated", "give up"),
        "transport error": ("terminated", "give up"),
        "cancelled": ("terminated", "give up"),
        "abandoned": ("terminated", ""),
    },
    # "Once the client transaction enters the "Completed" state, it MUST set Timer K"; what comes while it
    # runs is absorbed.
    "completed": {
        "provisional": ("completed", ""),
        "final": ("completed", ""),
        "transport error": ("completed", ""),
        "timer K": ("terminated", ""),
    },
    "terminated": {},
}

SENT_ONCE_ENDS_AS: Final[State] = TRANSITIONS["trying"]["final to a request sent once"][0]
"""What the table says of nearly every transaction, from *trying* and *proceeding* alike; read once."""

E_TICKS: Final = tuple(ticks(min(T1 * 2**n, T2)) for n in range(4))
"""Timer E before the first, second, … retransmission; the last one is that of all further."""
F_TICKS: Final = ticks(64 * T1)
K_TICKS: Final = ticks(T4)
