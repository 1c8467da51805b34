"""The root of imc's own errors."""


class ImcError(Exception):
    """Any error that imc raises on purpose; its text says what was wrong and with what value."""
