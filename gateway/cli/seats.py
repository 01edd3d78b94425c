"""Which GPUs a replica gets: as many as each needs, in the order of the configuration, none twice."""

from collections.abc import Sequence

from gateway.config import Worker

Seat = tuple[str, ...]


def seats(worker: Worker) -> list[Seat]:
    """Empty if the configuration does not say which GPUs there are: then all replicas see all of them."""
    each = worker.gpus_each
    return [worker.gpus[at : at + each] for at in range(0, len(worker.gpus) - each + 1, each)]


def free_seat(worker: Worker, taken: Sequence[Seat]) -> Seat | None:
    """None if there is none."""
    if not worker.gpus:
        return ()
    busy = {gpu for seat in taken for gpu in seat}
    return next((seat for seat in seats(worker) if not busy & set(seat)), None)


def shared_seat(worker: Worker, taken: Sequence[Seat], leaving: Seat) -> Seat:
    """A free one, or else that of the replica that is to leave, or what comes nearest to it."""
    free = free_seat(worker, [*taken, leaving])
    if free is not None:
        return free
    return min(seats(worker), key=lambda seat: sum(gpu in other for other in taken for gpu in seat))
