"""Weights on their device while they are used.

Where ComfyUI runs, they stand in its books (`comfy.model_management`) like its own models: before ours move to the
device it makes room, and when it needs the room, or the user asks, it moves ours to the computer's memory. They come
back at their next use. Anywhere else they are loaded once and stay. What diffusers' hooks move block by block is not in
its books: there it only makes room.
"""

import gc
import sys
import weakref
from contextvars import ContextVar
from copy import copy

from ..spacetime.cost import available_bytes, machine_bytes
from . import devices

HELD, BOOKS = "held", "weights in ComfyUI's books"
LARGE = 64 << 20  # bytes of weights that are worth looking for at once when nobody needs them any more
_MADE: ContextVar[list] = ContextVar("spacetime_weights")  # what is loaded while a `present` property is made


class present:  # noqa: N801 (a decorator, as functools.cached_property)
    """A property made once, from weights that are on their device again whenever somebody asks for it."""

    def __init__(self, make):
        self.make, self.__doc__ = make, make.__doc__

    def __set_name__(self, owner, name):
        self.name = name

    def __get__(self, one, owner=None):
        if one is None:
            return self
        if not self.made(one):
            books: list = []
            token = _MADE.set(books)
            try:
                made = self.make(one)
            finally:
                _MADE.reset(token)
            held_by(one).update({self.name: made, BOOKS: books})
        held = held_by(one)
        if patchers := [book for book in held[BOOKS] if hasattr(book, "load_device")]:
            _load(patchers)
        return held[self.name]

    def made(self, one) -> bool:
        return self.name in one.__dict__.get(HELD, {})


def held_by(one) -> dict:
    """What a component has made of its weights, by name; dropped when it goes itself, as when a graph's last node that
    needs it is done."""
    if HELD not in one.__dict__:
        one.__dict__[HELD] = {}
        weakref.finalize(one, _free, one.__dict__[HELD], one.weight_bytes > LARGE).atexit = False
    return one.__dict__[HELD]


def twin(one):
    """The same component with nothing made yet."""
    other = copy(one)
    other.__dict__.pop(HELD, None)
    return other


def give_back(one):
    """What was made is dropped, and its memory is free at once; the next who asks has it made anew. Whoever still holds
    it keeps it."""
    _free(one.__dict__.get(HELD, {}))


def _free(held: dict, at_once: bool = True):
    held.clear()
    if at_once:
        gc.collect()  # modules and their hooks refer to each other
        devices.empty_cache()


def make_room(count: int, component):
    """In ComfyUI: `count` bytes free beside a component's weights, for what a pass through it takes.

    Other models leave the device for it. A CPU's memory is not ComfyUI's to give.
    """
    books = component.__dict__.get(HELD, {}).get(BOOKS, [])
    places = {getattr(one, "load_device", one) for one in books}
    for device in (device for device in places if device.type != "cpu"):
        management = devices.comfyui()
        keep = [loaded for loaded in management.current_loaded_models if loaded.model in books]
        management.free_memory(count, device, keep)


def free_bytes(device) -> int:
    """What weights may take of a device's memory: in ComfyUI, which moves other models away, nearly all of it."""
    import torch

    if device.type == "mps":
        return torch.mps.recommended_max_memory() - torch.mps.current_allocated_memory()
    if device.type != "cpu" and (management := devices.comfyui()):  # of kinds too that only ComfyUI knows
        return int(0.9 * management.get_total_memory(device))
    free = devices.free_bytes(device)
    return (available_bytes() or sys.maxsize) if free is None else free


def total_bytes(device) -> int:
    return devices.total_bytes(device) or machine_bytes() or sys.maxsize


def in_books() -> bool:
    """Whether somebody keeps books who moves what isn't used."""
    return devices.comfyui() is not None


def reading_place(device):
    """Where weights for `device` are read to: ComfyUI moves them on, once it has made room."""
    import torch

    return torch.device("cpu") if devices.comfyui() else device


def settle(module, device):
    """The module on its device; in ComfyUI, in its books for as long as it lives."""
    management = devices.comfyui()
    if management is None:
        return module.to(device)
    if (books := _MADE.get(None)) is None:  # nobody would call it back: it stays where it is
        management.free_memory(management.module_size(module) * 1.1, device)
        return module.to(device)
    module.book = _patcher(module, device)
    books.append(module.book)
    _load(books[-1:])
    return module


def beside(load, *args):
    """What `load` loads to be used beside a component's own module: in the books too, called back by `bring`."""
    token = _MADE.set([])
    try:
        return load(*args)
    finally:
        _MADE.reset(token)


def bring(module):
    """Back to its device, where ComfyUI has moved it away since."""
    if book := getattr(module, "book", None):
        _load([book])
    return module


def hold(module, device, count: int):
    """A module whose hooks bring up to `count` bytes of it to the device; in ComfyUI, the room for them."""
    if management := devices.comfyui():
        management.free_memory(count * 1.1, device)
        if (books := _MADE.get(None)) is not None:
            books.append(device)
    return module


def _load(patchers: list):
    devices.comfyui().load_models_gpu(patchers, force_full_load=True)


def _patcher(module, device):
    """What ComfyUI keeps books on. It moves parts of a model by its own layers, which ours aren't made of: ours move
    whole."""
    import torch
    from comfy.model_patcher import ModelPatcher  # ComfyUI's

    class Whole(ModelPatcher):
        def partially_load(self, device_to, extra_memory=0, force_patch_weights=False):
            if self.loaded_size():
                return 0
            self.patch_model(device_to)  # without a limit: all of it
            return self.loaded_size()

        def partially_unload(self, device_to, memory_to_free=0, *args, **kwargs):
            return 0  # and then ComfyUI unloads all of it

    # a shell, for ComfyUI sets attributes that our modules have as properties (device); its name goes into the log
    shell = type(type(module).__name__, (torch.nn.Module,), {})()
    shell.module = module
    return Whole(shell, load_device=device, offload_device=torch.device("cpu"))
