"""``python -m jobworkerp_standalone`` is the program ``jobworkerp``."""

import sys

from jobworkerp_standalone.cli.main import main

sys.exit(main())
