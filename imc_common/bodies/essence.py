"""The type of a body, without its parameters."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

PLAIN: Final = "text/plain"
HTML: Final = "text/html"
CPIM: Final = "message/cpim"
IMDN: Final = "message/imdn+xml"
IS_COMPOSING: Final = "application/im-iscomposing+xml"
RESOURCE_LISTS: Final = "application/resource-lists+xml"
CONFERENCE_INFO: Final = "application/conference-info+xml"
RLMI: Final = "application/rlmi+xml"
RELATED: Final = "multipart/related"


@lru_cache(maxsize=256)
def essence(content_type: str) -> str:
    """``type/subtype`` in lower case, without blanks."""
    return content_type.partition(";")[0].replace(" ", "").replace("\t", "").lower()
