"""Counts what operations allocate, those inside this package's registered operators too."""

from torch import Tensor
from torch.multiprocessing.reductions import StorageWeakRef
from torch.utils._python_dispatch import TorchDispatchMode


class Allocations(TorchDispatchMode):
    """Bytes of the storages that operations made: the largest, and the most there were at once.

    Inside a registered operator no mode is active: ``backend``'s ``functions`` are patched to turn
    this one on again.
    """

    def __init__(self, monkeypatch=None, backend=None, functions=("forward", "backward")):
        super().__init__()
        self.largest = self.peak = 0
        self.alive = {}
        for name in () if backend is None else functions:
            monkeypatch.setattr(backend, name, self._seen(getattr(backend, name)))

    def _seen(self, function):
        def inside(*arguments):
            with self:
                return function(*arguments)

        return inside

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for tensor in result if isinstance(result, (tuple, list)) else [result]:
            if isinstance(tensor, Tensor):
                self._count(tensor)
        return result

    def _count(self, tensor):
        storage = tensor.untyped_storage()
        self.alive = {k: v for k, v in self.alive.items() if not v[0].expired()}
        size = storage.nbytes()
        self.alive.setdefault(storage._cdata, (StorageWeakRef(storage), size))
        self.largest = max(self.largest, size)
        self.peak = max(self.peak, sum(size for _, size in self.alive.values()))
