"""Run a server as the command line does: ``python launch.py MODEL [OPTIONS]``."""

import sys

import tyro
from albertqa.cli.serve import Serve, run_serve

if __name__ == "__main__":
    sys.exit(run_serve(tyro.cli(Serve)))
