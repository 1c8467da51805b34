"""Tests of the SIP codec, file by file."""
