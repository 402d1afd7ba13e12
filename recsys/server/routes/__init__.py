"""The routes: each reads a body, asks the engine or the store, and answers bytes."""
