"""The base class of imc's own errors."""


class ImcError(Exception):
    """An error that imc raises on purpose. Its text says what is wrong, and with which value."""
