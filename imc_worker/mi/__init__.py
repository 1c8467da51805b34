"""The management interface: the commands of OpenSIPS's and Kamailio's imc modules, and imc's own."""

from imc_worker.mi.server import MiServer

__all__ = ["MiServer"]
