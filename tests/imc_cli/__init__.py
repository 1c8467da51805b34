"""Tests of imc_cli, in the same layout.

`imc_cli/user.py` is tested in tests/integration/test_identity.py, `imc_cli/__main__.py` by all tests that
start `imc`.
"""
