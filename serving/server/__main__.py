"""`python -m serving.server`: start the embedded server."""

import sys

from serving.server.process import main

if __name__ == "__main__":
    sys.exit(main())
