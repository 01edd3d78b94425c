"""The HTTP process: authenticates, admits, routes, meters and accounts. Never imports a model library."""

__version__ = "0.1.0"
