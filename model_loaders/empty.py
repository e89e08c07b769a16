"""A module as its config describes it, without its weights; what can't be the model of these weights isn't built."""

from itertools import chain
from math import inf, prod

from .checkpoint import CheckpointError
from .folders import CONFIGS
from .single_file import Piece, Source

ROOM = 4  # times the numbers in the files: what is tied to another layer is built too, and what is put aside at once
TABLE = 1 << 28  # numbers in a computed table, such as a rotary one; CogVideoX's, of the largest known, holds 5e7


def empty(make, source: Source, found: dict[str, Piece]):
    """What `make()` builds. Raises CheckpointError, before memory is taken, where its config can't be a model's or asks
    for far more than what was found in the files."""
    numbers = sum(prod(piece.shape) for piece in found.values())
    config = source.settings or source.name
    ours = CONFIGS in getattr(config, "parents", ())  # then a file that holds less is itself not whole
    try:
        with EmptyOnMeta(*((inf, inf) if ours else (ROOM * numbers, max(TABLE, numbers)))):
            return make()
    except TooLarge as error:
        raise CheckpointError(f"{config}: this config asks for {error}; its files hold {numbers:,}") from None
    except (ImportError, MemoryError, OSError):
        raise
    except Exception as error:  # the libraries raise many kinds
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{config}: no {source.class_name} can be built from it ({reason[:120]})") from None


class TooLarge(Exception):
    pass


def EmptyOnMeta(numbers: float, table: float):  # noqa: N802
    """A context in which parameters take no memory and no time, while computed buffers (rotary tables) are real.
    Raises TooLarge where the parameters come to more than so many numbers, or one table to more than `table`.

    `torch.device("meta")` would also empty the tables, which no checkpoint holds; parameters are made by torch.empty.
    """
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._pytree import tree_map_only

    def check_table(func, args, kwargs):
        """By the sizes it is made of, and where these leave it open, by making it of no memory."""
        most = 1
        for value in chain(args, *(value for value in args if isinstance(value, tuple | list)), kwargs.values()):
            if isinstance(value, torch.Tensor):
                most *= max(value.numel(), 1)
            elif isinstance(value, int | float):
                most *= max(abs(value), 1)
        if most <= table:
            return
        args, kwargs = tree_map_only(torch.Tensor, lambda value: value.to("meta"), (args, kwargs))
        try:
            with torch.device("meta"):
                made = func(*args, **{**kwargs, **({"device": None} if "device" in kwargs else {})})
        except (RuntimeError, NotImplementedError):  # some functions need values
            return
        if isinstance(made, torch.Tensor) and made.numel() > table:
            raise TooLarge(f"a table of {made.numel():,} values")

    class Mode(TorchFunctionMode):
        left = numbers

        def __torch_function__(self, func, types, args=(), kwargs=None):
            kwargs = dict(kwargs or {})
            if func is torch.empty:
                made = func(*args, **{**kwargs, "device": "meta"})
                self.left -= made.numel()
                if self.left < 0:
                    raise TooLarge(f"over {numbers - self.left:,} weights")
                return made
            name, target = func.__name__, args[0] if args else kwargs.get("tensor")
            in_place = name.endswith("_") and not name.endswith("__")
            meta = isinstance(target, torch.Tensor) and target.is_meta
            if in_place and meta:
                return target  # an initialisation; on meta tensors a no-op that takes as long as all the rest
            if not (in_place or meta or name == "__get__"):
                check_table(func, args, kwargs)
            return func(*args, **kwargs)

    return Mode()
