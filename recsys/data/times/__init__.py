"""Read times: how a column writes them, which unit its numbers have, and the time of a request."""
