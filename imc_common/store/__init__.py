"""The connection to Redis: a single server, one watched by Sentinel, or a cluster."""

from imc_common.scripts import Command
from imc_common.store.errors import NotDurable, ReplyError, StoreRefused, StoreUnreachable
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
