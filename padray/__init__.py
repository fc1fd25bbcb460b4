"""padray distils datasets: a few synthetic samples per class that train a network almost as well."""

__version__ = "0.1.0"
