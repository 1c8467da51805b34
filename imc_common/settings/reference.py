"""The reference page of settings, made from the settings class: ``python -m
imc_common.settings.reference``."""

from __future__ import annotations

from imc_common.settings.load import allowed, reload_by
from imc_common.settings.model import Settings
from imc_common.settings.toml import written

_HEAD = """\
# Settings

This page lists every setting with its default and its allowed values. It is for operators who write a
settings file.

Do not edit it: `python -m imc_common.settings.reference > docs/settings.md` makes it from
`imc_common/settings/model.py`.

## Where values come from

Later sources override earlier ones:

1. a TOML file (`--config FILE`), with lines of `name = value`;
2. the environment: `IMC_HASH_SIZE=5`;
3. the command line: `--hash-size 5`.

Outside TOML, separate the values of a list with commas (`udp:0.0.0.0:5060,tcp:0.0.0.0:5060`), and the
header lines of `extra_hdrs` with `\\r\\n`.

`imc check --config FILE` prints the effective settings with their sources, or all mistakes together. A
process does not start if a setting is wrong. An unknown name in the file is a mistake. In the environment,
an unknown `IMC_…` is a mistake only if it looks like a misspelt setting, because container platforms set
such variables too.

## All settings

The column *reload* names the processes that apply a change on SIGHUP (`systemctl reload`): edges, workers or
both. If it is empty, the change needs a restart ([operating](operating.md#change-settings-while-running)).

| setting | default | allowed values | reload | meaning |
|---|---|---|---|---|
"""
_RELOAD = {"edge": "edges", "worker": "workers", "both": "both", "": ""}


def page() -> str:
    """The page as Markdown."""
    rows = []
    for name, field in Settings.model_fields.items():
        default, reload = written(name, field.default), _RELOAD[reload_by(name)]
        cells = (f"`{name}`", f"`{default}`", allowed(name), reload, field.description or "")
        rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n")
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    print(page(), end="")  # the page is this program's output
