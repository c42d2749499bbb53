from __future__ import annotations

import sys
from pathlib import Path

# toy.py is a program and a module
sys.path.insert(0, str(Path(__file__).parent))
