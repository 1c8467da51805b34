"""Tests of imc_common, in the same layout. `imc_common/errors.py` has only a base class and needs no test."""
