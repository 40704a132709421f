"""Parts of ``benchmarks/gpu/run.sh``: one module each, with a function ``main(job)``."""
