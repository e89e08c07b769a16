"""A diffusion transformer as the wires carry it: its facts at once, its weights when it is first asked for."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from weakref import WeakSet

from ..spacetime.cost import available_bytes, readable
from ..spacetime.work import Work, work_of
from . import fingerprints, memory, offload, partners, registry
from .checkpoint import CheckpointError, read_json
from .component import PROCESSOR_FOLDERS, Component, picture_processor
from .devices import on_cpu, one_memory, value_bytes
from .folders import sibling_json
from .partners import CONTROLNET, SECOND
from .settings import class_of
from .single_file import Source, pieces, weight_bytes
from .variants import DISTILLS

MAIN = "transformer"  # with SECOND, A14B's expert for low noise, a DiT's parts that LoRAs change
SMALL = 2 << 30  # bytes of weights that may stand in memory twice, once without a LoRA and once with it


@dataclass(frozen=True)
class DiTFacts:
    family: str
    channels: int  # of the latents it denoises
    patch: tuple[int, int, int]  # latent cells per token, (t, h, w)
    max_cells: tuple[int, int, int]  # the longest latent grid it has positions for, (T, H, W)
    trained_cells: tuple[int, int, int]  # the longest, tallest and widest it was trained on; beyond, it sees windows
    text_width: int
    width: int  # of a token inside
    ffn: int
    per_token_time: bool  # it takes a timestep for every token: known cells are clean to it
    scheduler: dict = field(repr=False)  # diffusers scheduler config
    vae: dict = field(repr=False)  # config of the VAE it was trained on, {} when it came alone
    reads: tuple[str, ...] = ()  # what of CONDITIONING it reads beside the embeddings
    embedded_guidance: bool = False  # it was told the guidance in training: one pass a step, no negative prompt
    from_positive: float | None = None  # how its guidance is written, see spacetime.guidance.make_guider
    known_by: str = ""  # how known cells reach it, in words, where neither token time nor noise alone does it
    audio_vae: dict = field(default_factory=dict, repr=False)  # config of the one beside it, for models that make sound
    pipeline: dict = field(default_factory=dict, repr=False)  # model_index.json of the pipeline it came in
    neighbours: tuple[str, ...] = ()  # folders of the pipeline whose weights it loads too
    boundary: float = 0.0  # time below which its second expert denoises; 0 where there is none
    token_frames: int = 1  # latent frames in a token beyond its patch
    guiders: dict[str, int] = field(default_factory=dict)  # its family's own, of spacetime.names → passes a step
    advice: str = ""  # which settings of Sample are right for it, where it wants few steps or no guidance
    levels: tuple[float, ...] = ()  # of noise, which it was distilled for; () where any will do
    follows: tuple[str, ...] = ()  # of spacetime.names.CONTROL, STRENGTH and REFERENCES
    known_noise: int = 0  # thousandths of noise that its makers put into known cells; 0 where it was trained for none
    control_maps: int = 0  # as wide as a token, which it holds for each while it follows a control video
    control_scale: int = 0  # how many times smaller a control video is that goes as tokens of its own; 0: none does
    forcing: int = 0  # latent frames in a block of its own, where it was trained with diffusion forcing; 0 where not
    order: str = ""  # of spacetime.names: in which it finishes sections, seeing the past packed; "" where it doesn't
    past: float = 0.0  # tokens of that past, for each token of a section
    linear_head: int = 0  # size of a head where attention is linear; 0 where every token sees every other

    @property
    def control_tokens(self) -> float:
        """Of a control video, for each token of the canvas."""
        return 1 / self.control_scale**2 if self.control_scale else 0.0

    def control_bytes(self, tokens: int, value: int) -> int:
        """Beside what a pass takes, while it follows a control video. value: bytes of a number."""
        return self.control_maps * self.width * tokens * value


class DiT(Component):
    kind = fingerprints.DIT
    config: DiTFacts
    needed = 0  # bytes beside its weights, for the largest pass it was made ready for

    def __init__(self, path, dtype="auto", device="auto", memory=offload.AUTO, weights=offload.AS_DTYPE, **more):
        """memory, weights: where its weights stay and how they are kept, see offload.py. more: `scratch`, the folder
        for disk offload; `tell`, a function that takes one line for the user."""
        offload.check(memory, weights)
        super().__init__(path, dtype, device)
        self.memory, self.weights = memory, weights
        self.scratch, self.tell = more.get("scratch"), more.get("tell", lambda line: None)
        if partners.is_unnamed_expert(self.source):
            self.tell(f"{self.source.name} doesn't say which of A14B's two experts it is; it denoises alone")
        name = partners.published_name(self.source)
        if line := self.distil(name) or (self.config.advice and f"{name}: {self.config.advice}"):
            self.tell(line)
        self.changes: dict[str, tuple[dict, ...]] = {}  # part → what LoRAs do to it, see lora.py
        self.relatives = WeakSet([self])  # handles on the same files

    @cached_property
    def pipeline(self) -> str:
        """The class of the pipeline as which its prompts are read: that it came in or, of a single file or a folder
        that stands alone, that it is made for; '' where none is known."""
        seen = "picture_tokens" in self.config.reads  # a prompt that is read with the picture
        return class_of(sibling_json(self.folder, "model_index.json")) or (
            "" if seen else registry.ALONE.get(self.source.class_name, "")
        )

    def ready(self, needed: int):
        """Before a pass that takes `needed` bytes: what `auto` chose for a smaller one is chosen anew if it's short."""
        if needed > self.needed:
            made, self.needed = type(self).adapter.made(self), needed
            if made and self.memory == offload.AUTO and not memory.in_books():
                if memory.free_bytes(self.place[1]) < needed:
                    memory.give_back(self)

    def load(self, source, **more):
        if source.class_name not in registry.TRANSFORMERS:  # an image encoder beside it
            return super().load(source)
        storage = self.weights
        if storage != offload.AS_DTYPE and source.file and source.file.suffix.lower() == ".gguf":
            self.tell(f"weights {storage!r}: GGUF weights stay quantised as their file has them")
            storage = offload.AS_DTYPE
        return super().load(source, storage=storage, way=self._way(source), scratch=self.scratch, tell=self.tell)

    @cached_property
    def weight_bytes(self) -> int:
        """What of its weights lies on their device at a time, as `memory` and `weights` choose; of two experts in
        ComfyUI, which moves the other away, the larger; what isn't a transformer whole."""
        value = value_bytes(self.dtype, self.device)
        others = [one for one in self.kin if one.class_name not in registry.TRANSFORMERS]
        whole = sum(value * prod(piece.shape) for source in others for piece in pieces(source).values())
        return whole + self.together(self.footprints(self.memory))

    def footprints(self, way: str) -> list[offload.Footprint]:
        """Of its transformers and its ControlNet, kept in this way, by what dtype and device `auto` will be; needs no
        torch."""
        dtype = {2: "bfloat16", 4: "float32"}[value_bytes(self.dtype, self.device)]
        device = "cpu" if one_memory(self.device) else "cuda"
        here = dtype if self.dtype == "auto" else self.dtype, device, way, self.weights
        return [offload.footprint(self._changed(one, part), *here) for part, one in self.denoising().items()]

    def together(self, parts: list[offload.Footprint]) -> int:
        """Bytes of its device that all of `footprints` hold at a time; ComfyUI moves one expert away for the other."""
        return (max if self.take_turns and not on_cpu(self.device) else sum)(part.device for part in parts)

    @property
    def take_turns(self) -> bool:
        """Whether its second transformer takes the place of its first on the device."""
        return bool(self.config.boundary) and memory.in_books()

    def _way(self, source) -> str:
        """Where the weights stay, and a line about it where that isn't simply on the device."""
        dtype, device = self.place
        here = (source, str(dtype).removeprefix("torch."), device.type)
        one = device.type in offload.ONE_MEMORY
        if self.memory in (offload.BLOCK, offload.LEAF) and one:
            self.tell(f"{self.memory}: a {device.type} has no memory of its own; only disk offload saves any there")
            return offload.FITS
        if self.memory != offload.AUTO or self.weights == offload.INT8 or device.type == "meta":
            return offload.FITS if self.memory == offload.AUTO else self.memory
        sizes = offload.footprints(*here, self.weights)
        free = memory.free_bytes(device)
        way = offload.choose(sizes, self.needed, free, available_bytes() or free, one)
        if way != offload.FITS:
            whole, part = readable(sizes[way].weights), readable(sizes[way].device)
            need = f"the DiT's weights take {whole}, sampling {readable(self.needed)}"
            self.tell(f"memory: {need}, {readable(free)} are free on {device.type}; {way}: {part} of them at a time")
        return way

    @memory.present
    def adapter(self):
        """A loaded spacetime.model.Denoiser."""
        if len(self.relatives) > 1 and weight_bytes(self.source, self.dtype, self.device) > SMALL:
            for other in self.relatives - {self}:
                memory.give_back(other)  # it is read again when a graph comes back to it
        transformer = self.load(self._changed(self.source, MAIN))
        return self.family.Adapter(transformer, self.config, memory.twin(self).beside)  # self, held so, would never go

    @cached_property
    def work(self) -> Work:
        """What a pass through it computes, by its headers."""
        return work_of({key: piece.shape for key, piece in pieces(self.source).items()})

    @cached_property
    def control_work(self) -> Work:
        """What a pass computes too, while a control video is followed through a ControlNet."""
        source = self.denoising().get(CONTROLNET)
        return work_of({key: piece.shape for key, piece in pieces(source).items()}) if source else Work()

    def beside(self, name: str):
        """A neighbour in the same pipeline folder, loaded: a second expert, an image encoder, what prepares for it. A
        ControlNet, which works in the same passes, stays on the device with it."""
        if name in PROCESSOR_FOLDERS:
            sees = self.neighbour("image_encoder") or self.source
            return picture_processor(sees.folder.parent / name)
        source = self.neighbour(name)
        if source is None:
            raise CheckpointError(f"{self.source.name} is used with {name}/, which isn't beside it")
        if name == CONTROLNET:
            return self.load(source)
        return memory.beside(self.load, self._changed(source, name))

    def _changed(self, source: Source, part: str) -> Source:
        return replace(source, changes=self.changes.get(part, ()))

    def distil(self, name: str) -> str:
        """Where the name of its file or of a LoRA on it says so, its facts become those of one for few steps without
        guidance. Returns what is right for it, or ""."""
        if DISTILLS not in name.lower() or not hasattr(self.family, "distilled"):
            return ""
        self.config = self.family.distilled(self.config, name)
        return f"{name} is distilled: {self.config.advice}"

    def sources(self) -> dict[str, Source]:
        """Its transformers: one, or two where an expert for low noise lies beside it."""
        second = self.neighbour(SECOND) if self.config.boundary else None
        return {MAIN: self.source, **({SECOND: second} if second else {})}

    def denoising(self) -> dict[str, Source]:
        """Its transformers, and the ControlNet that works along with them."""
        control = self.neighbour(CONTROLNET) if CONTROLNET in self.config.neighbours else None
        return {**self.sources(), **({CONTROLNET: control} if control else {})}

    def with_changes(self, changes: dict[str, dict]) -> "DiT":
        """Another handle on the same files, which loads them changed. This one, and whoever holds it, isn't touched."""
        other = memory.twin(self)
        other.changes = self.changes | {part: (*self.changes.get(part, ()), one) for part, one in changes.items()}
        self.relatives.add(other)
        return other

    @cached_property
    def latent_rgb(self) -> dict | None:
        """For previews, raw latents → RGB in 0..1: {"weight": [C][3], "bias": [3]}; None where the VAE ships none."""
        path = self.folder.parent / "vae" / "latent_rgb.json"
        return read_json(path) if path.is_file() else None
