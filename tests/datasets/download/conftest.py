"""Makes the helper modules of this folder importable, and gives every test a local web server."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from local_server import server

__all__ = ["server"]
