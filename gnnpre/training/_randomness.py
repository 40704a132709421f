"""Random numbers of one training, drawn from generators of its own.

Layers draw their first weights, and dropout its masks, from torch's global generator: seeding that
one for a training would change the caller's numbers, and two trainings in threads would draw from
each other's. Here every random operation of a block of code gets a private generator instead.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

__all__ = ["PrivateRandomness", "SkipRandomFills", "default_float32"]

#: Held where a process-wide setting of torch is changed for a moment.
_global_state_lock = threading.RLock()


class PrivateRandomness(TorchDispatchMode):
    """Within a ``with`` block of this, random operations draw from private generators.

    The numbers are those that torch's global generator would yield after ``manual_seed(seed)``.

    Parameters
    ----------
    seed : int
        Seed of the generators.
    device : torch.device
        Device of the training; random numbers on a GPU come from a generator there.
    """

    def __init__(self, seed: int, device: torch.device) -> None:
        super().__init__()
        self.generators = {"cpu": torch.Generator().manual_seed(seed)}
        if device.type != "cpu":
            self.generators[device.type] = torch.Generator(device).manual_seed(seed)
        self.was_used = False

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation of torch, with a private generator if it draws random numbers."""
        arguments = dict(kwargs or {})
        if not _is_random(func) or arguments.get("generator") is not None:
            return func(*args, **arguments)
        generator = self.generators.get(_device_type(args, arguments))
        if generator is None:  # tensors without memory ("meta")
            return func(*args, **arguments)
        self.was_used = True
        seeded = _with_generator(func)
        if seeded is not None:
            return seeded(*args, **{**arguments, "generator": generator})
        # Nothing but the lock keeps other trainings from drawing meanwhile, and nothing keeps
        # threads that are not trainings of this package.
        with _as_global_state(generator):
            return func(*args, **arguments)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the states of the generators by device type."""
        return {name: generator.get_state() for name, generator in self.generators.items()}

    def load_state_dict(self, states: dict[str, Tensor]) -> None:
        """Restore states of the generators; those of devices that are not in use are ignored."""
        for name, state in states.items():
            if name in self.generators:
                self.generators[name].set_state(state.clone())


@cache
def _is_random(func: Any) -> bool:
    return torch.Tag.nondeterministic_seeded in func.tags or _takes_generator(func)


@cache
def _takes_generator(func: Any) -> bool:
    return any(argument.name == "generator" for argument in func._schema.arguments)


@cache
def _with_generator(func: Any) -> Any:
    """Return an operation that takes a generator: itself, or its overload that does, or None."""
    if _takes_generator(func):
        return func
    # Such as randn.generator beside randn.default, and randint.low_generator beside randint.low.
    name = func._overloadname
    overload = "generator" if name == "default" else f"{name}_generator"
    packet = func._overloadpacket
    return getattr(packet, overload) if overload in packet.overloads() else None


def _device_type(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
    """Return the type of the device that an operation draws on."""
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"]).type
    return next((value.device.type for value in args if isinstance(value, Tensor)), "cpu")


@contextmanager
def _as_global_state(generator: torch.Generator) -> Iterator[None]:
    """Lend the state of a generator to torch's global one, for an operation that knows no other."""
    device = generator.device
    if device.type == "cpu":
        shared = torch.default_generator
    else:
        shared = torch.cuda.default_generators[device.index or 0]
    with _global_state_lock:
        before = shared.get_state()
        shared.set_state(generator.get_state())
        try:
            yield
        finally:
            generator.set_state(shared.get_state())
            shared.set_state(before)


@contextmanager
def default_float32() -> Iterator[None]:
    """Create tensors without a dtype in float32, whatever the caller's default is."""
    # Another thread may have set float32 for a moment: only the lock tells the caller's default.
    with _global_state_lock:
        before = torch.get_default_dtype()
        if before != torch.float32:
            torch.set_default_dtype(torch.float32)
            try:
                yield
            finally:
                torch.set_default_dtype(before)
            return
    yield


class SkipRandomFills(PrivateRandomness):
    """Within a ``with`` block of this, in-place random fills leave tensors uninitialized.

    For models whose weights are loaded right after they are built. Other random operations draw
    from a private generator.
    """

    def __init__(self) -> None:
        super().__init__(0, torch.device("cpu"))

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        """Run one operation of torch, unless it fills a tensor with random numbers."""
        if _is_random(func) and func._schema.name.endswith("_"):
            return args[0]
        return super().__torch_dispatch__(func, types, args, kwargs)
