"""The way of requests to a server that is not ours, and of its answers back."""
