"""The reference page of settings, made from the settings class: ``python -m imc_common.settings.page``."""

from __future__ import annotations

from imc_common.settings.load import allowed
from imc_common.settings.model import Settings
from imc_common.settings.toml import written

_HEAD = """\
# Settings

Made from `imc_common/settings/model.py` by `python -m imc_common.settings.page > docs/settings.md`:
do not edit it.

A value comes from, in rising order: a TOML file (`--config FILE`, lines of `name = value`), the environment
(`IMC_HASH_SIZE=5`), the command line (`--hash-size 5`). Outside of TOML, lists are written with commas
(`udp:0.0.0.0:5060,tcp:0.0.0.0:5060`), the header lines of `extra_hdrs` with `\\r\\n` between them.
`imc check --config FILE` prints the effective settings with the source of each, or every mistake at once.
A process with a mistake in its settings does not start; an unknown name in the file is a mistake. In the
environment an unknown `IMC_…` is one only if it looks like a misspelt setting, because container platforms
make such variables, too.

| setting | default | allowed | |
|---|---|---|---|
"""


def page() -> str:
    """The page as Markdown."""
    rows = []
    for name, field in Settings.model_fields.items():
        default = written(name, field.default)
        cells = (f"`{name}`", f"`{default}`", allowed(name), field.description or "")
        rows.append("| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |\n")
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    print(page(), end="")  # the page is this program's output
