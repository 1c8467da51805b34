"""Settings: the class that describes them, and the sources of their values."""

from imc_common.settings.load import Loaded, Mistake, SettingsError, load
from imc_common.settings.model import Settings
from imc_common.settings.values import Endpoint, masked

__all__ = ["Endpoint", "Loaded", "Mistake", "Settings", "SettingsError", "load", "masked"]
