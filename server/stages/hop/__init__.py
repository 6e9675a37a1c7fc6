"""The way of requests to another tier and of their answers back."""
