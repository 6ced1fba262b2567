"""Tests of the device library that run on every VM: plain functions, bare asserts, nothing but MicroPython's subset."""
