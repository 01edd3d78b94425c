"""What ends a run, said in one line."""


class BenchError(Exception):
    pass
