"""`python -m suite`: the command line of the project."""

import sys

from suite.cli import main

sys.exit(main())
