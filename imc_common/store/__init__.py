"""The way to Redis: one server, one watched by sentinels, or a cluster."""

from imc_common.store.errors import NotDurable, ReplyError, StoreRefused, StoreUnreachable
from imc_common.store.pipe import Command
from imc_common.store.store import Entry, Store
from imc_common.store.url import UrlError, parse_url

__all__ = [
    "Command",
    "Entry",
    "NotDurable",
    "ReplyError",
    "Store",
    "StoreRefused",
    "StoreUnreachable",
    "UrlError",
    "parse_url",
]
