"""``python -m recsys``."""

from recsys.cli.parser import main

raise SystemExit(main())
