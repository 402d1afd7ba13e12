"""``python -m recsys``."""

from recsys.cli import main

raise SystemExit(main())
