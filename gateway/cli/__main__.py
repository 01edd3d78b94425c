"""`python -m gateway.cli`: the same as the command `weighbridge`."""

import sys

from gateway.cli.main import main

sys.exit(main())
