"""``python -m imc_common.cli`` is ``imc``."""

from imc_common.cli import main

if __name__ == "__main__":
    main()
