"""
CUDA twin of dprune._core. Imports without a driver; devices() is then empty.
"""
from __future__ import annotations
__all__: list[str] = ['Device', 'devices']
class Device:
    """
    One CUDA device.
    """
    @property
    def major(self) -> int:
        ...
    @property
    def memory_bytes(self) -> int:
        ...
    @property
    def minor(self) -> int:
        ...
    @property
    def multiprocessors(self) -> int:
        ...
    @property
    def name(self) -> str:
        ...
def devices() -> list[Device]:
    """
    The CUDA devices this process can use; empty without a driver or a device.
    """
