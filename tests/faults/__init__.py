"""Faults provoked by script: kills, flipped bytes, mutated logs, odd predicates, loads beside saves.

Each module runs short as a test (``test_faults.py``) and long by hand: ``python -m tests.faults.NAME --rounds N``.
"""
