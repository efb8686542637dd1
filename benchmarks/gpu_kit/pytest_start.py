"""A pytest plugin that starts each process of a test run as ``start`` starts the others."""

from benchmarks.gpu_kit.start import prepare

prepare()
