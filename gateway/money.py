"""Nano-dollars to text and back, exactly."""

from decimal import Decimal

_NANO = 1_000_000_000


def usd(nano: int) -> str:
    """Exact, with all nine decimals."""
    sign, nano = ("-", -nano) if nano < 0 else ("", nano)
    return f"{sign}{nano // _NANO}.{nano % _NANO:09d}"


def nano_usd(amount: Decimal) -> int:
    """Raises ValueError for what is not a whole number of nano-dollars."""
    nano = amount * _NANO
    if not nano.is_finite() or nano != nano.to_integral_value():
        raise ValueError(f"{amount} USD is not a whole number of nano-dollars")
    return int(nano)
