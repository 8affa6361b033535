"""BLAS on one thread."""

from __future__ import annotations

from contextlib import AbstractContextManager
from functools import cache

from threadpoolctl import ThreadpoolController


def one_thread() -> AbstractContextManager[object]:
    """BLAS runs on one thread within it. Our products are small: two threads take 3 to 16 times the CPU time of one."""
    return _libraries().limit(limits=1, user_api="blas")


@cache
def _libraries() -> ThreadpoolController:
    """Of this process."""
    return ThreadpoolController()
