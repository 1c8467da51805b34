"""Tests of the benchmark.

`make bench QUICK=1` runs the modules that need Kamailio and a quiet machine: __main__.py, cases.py,
systems.py, preload.py, quota.py, machine.py and plot.py.
"""
