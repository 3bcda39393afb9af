"""Builds the client from a checkout: the stubs are made from Proto/ on the way."""
import runpy
import pathlib

from setuptools import setup

here = pathlib.Path(__file__).resolve().parent
# By path: importing the package would need grpcio, which the build has no use for.
runpy.run_path(str(here / "vecraft" / "_stubs.py"))["generate"](here)
setup()
