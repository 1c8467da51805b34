"""``python -P -m imc_cli`` is ``imc``."""

from imc_cli import main

if __name__ == "__main__":
    main()
