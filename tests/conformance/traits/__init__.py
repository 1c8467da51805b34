"""MESSAGEs with the documented traits of other SIP stacks, one trait each."""

from __future__ import annotations

from tests.conformance.traits import addresses, content, fields, numbers, others, uris, vias

CASES = [
    case for module in (fields, vias, addresses, uris, numbers, content, others) for case in module.CASES
]
