"""The error of a body that does not follow the type that its headers name."""

from __future__ import annotations

from imc_common.errors import ImcError


class BodyError(ImcError):
    """A malformed body. Its text is short and fit for a SIP reason phrase."""
