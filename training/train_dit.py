"""Stage two: pocket's text encoder and transformer learn together, by flow matching, to fill in the free cells.

Latents are encoded once and kept in memory, with a few replaced by fresh ones as training goes on. A batch has one
size and one set of known cells; the kinds of both are mixed from batch to batch, as Sora was trained on its many
sizes and lengths in one model.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import torch
from diffusers import AutoencoderKLWan, FlowMatchEulerDiscreteScheduler, WanTransformer3DModel
from einops import rearrange
from spacetime_nodes.spacetime.canvas import WARM_UP
from spacetime_nodes.spacetime.grid import first_frame
from spacetime_nodes.training import fast_dit, train_vae, world
from spacetime_nodes.training.optim import Average, optimizers, quick, quick_dtype, schedule, set_rate
from spacetime_nodes.training.reading import Reading, questions
from spacetime_nodes.training.run import Run
from spacetime_nodes.training.seeing import LAYER, Seeing, sights
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from torch import Tensor
from transformers import PreTrainedTokenizerFast, UMT5Config, UMT5EncoderModel

SHIFT = 3.0
EARLY, EARLY_SHIFT = 0.4, 10.0  # so many noise levels lie where it is settled which thing stands where: 0.9 and above
SAMPLING_SHIFT = 5.0
TEXT_LENGTH = 64
TRANSFORMER = {
    "patch_size": (1, 2, 2), "num_attention_heads": 4, "attention_head_dim": 48, "in_channels": 16, "out_channels": 16,
    "text_dim": 64, "freq_dim": 256, "ffn_dim": 768, "num_layers": 8, "cross_attn_norm": True, "rope_max_seq_len": 1024,
}  # fmt: skip
TEXT_ENCODER = {
    "vocab_size": 128, "d_model": 64, "d_kv": 16, "d_ff": 128, "num_layers": 2, "num_heads": 4, "dropout_rate": 0.0,
    "relative_attention_num_buckets": 32, "relative_attention_max_distance": 128, "feed_forward_proj": "gated-gelu",
}  # fmt: skip
PREROLL = 9  # frames before a window that begins amid a clip: as far as the causal VAE looks back
# frames, width, height, batch (about 1,900 tokens), share of the steps, clips kept, whether it begins amid a clip
NEAR = [
    (17, 64, 64, 24, 8.0, 4000), (17, 112, 64, 13, 3.2, 1000), (17, 64, 112, 13, 3.2, 1000),
    (9, 64, 64, 40, 0.7, 1500), (1, 64, 64, 64, 0.7, 4000), (1, 96, 96, 40, 0.5, 2000),
    (25, 64, 64, 16, 2.0, 1000), (33, 64, 64, 11, 1.5, 700), (20, 64, 64, 24, 1.5, 1000, True),
]  # fmt: skip
FAR = [
    (17, 96, 96, 9, 1.5, 500), (17, 48, 48, 36, 0.7, 1000),
    (17, 80, 64, 16, 0.7, 500), (17, 64, 80, 16, 0.7, 500), (1, 112, 64, 48, 0.4, 1500), (1, 64, 112, 48, 0.4, 1500),
    (17, 128, 128, 5, 0.8, 200), (33, 112, 64, 6, 0.6, 200), (33, 64, 112, 6, 0.6, 200), (33, 96, 96, 5, 0.5, 150),
    (33, 128, 128, 3, 0.3, 60), (1, 128, 128, 24, 0.5, 1000), (17, 128, 96, 7, 0.4, 150), (17, 96, 128, 7, 0.4, 150),
    (5, 64, 64, 48, 0.5, 1500), (36, 64, 64, 11, 0.6, 300, True),
]  # fmt: skip
NEAR_UNTIL = 0.78  # of the budget: on the sizes near 64x64x17 alone a model learns what shapes and motions are soonest
SIMPLE_UNTIL = 0.4  # of the budget: one thing, moving or still, is what the rest is made of
PAIRS, SHAPES = 0.5, (*world.SHAPES, "star")  # after that: two things and stars are hardest, so practised more
READING, SEEING = 0.1, 0.1  # weights of the text encoder's and the transformer's lesson beside flow matching
# Beside known cells half of the clips are noised from one gone astray, at noise levels above the last number: its
# things lie so many short sides off and are so much larger or smaller, and its time runs so much faster or slower
STRAY, STRAY_BY, STRAY_SIZE, STRAY_TIME, STRAY_UNTIL = 0.5, 0.02, 0.03, 0.15, 0.3
LATER = 15.0  # seconds into a long video that a window may begin: by then things have bounced
REFRESH_EVERY = 20  # steps between fresh clips
# which cells are known, and how often
KNOWN = {"none": 74, "first": 12, "prefix": 11, "suffix": 20, "ends": 15, "frames": 5, "box": 6}
KNOWN_AMID = {"prefix": 3, "ends": 1}  # a long video's next window; what begins a video is always a frame of its own


@dataclass
class Bucket:
    """Clips of one size: normalised latents [n, 16, T, h, w] in bfloat16 and the scenes they show.

    strayed: the same with what moves a little off its way.
    amid: they begin amid a longer clip, so that the first latent frame holds as many frames as any other.
    """

    frames: int
    width: int
    height: int
    batch: int
    share: float
    keep: int
    amid: bool = False
    latents: Tensor | None = None
    strayed: Tensor | None = None
    answers: Tensor | None = None
    poses: Tensor | None = None
    scenes: list = field(default_factory=list)
    oldest: int = 0

    @property
    def cut(self) -> int:
        """Latent frames that went before, of which the model sees nothing."""
        return ((PREROLL - 1) // 4 + 1) * self.amid

    def draw(self, scenes: list, fps: float = world.FPS) -> Tensor:
        """The clips [B, F, H, W, 3] of these scenes, what goes before included."""
        return world.render(scenes, self.width, self.height, self.frames + PREROLL * self.amid, fps)

    def refresh(self, vae: AutoencoderKLWan, rng: random.Random, count: int, kinds: dict) -> None:
        """Adds `count` fresh clips, in place of the oldest where the bucket is full. kinds: of `sample_scene`."""
        frames = self.frames + PREROLL * self.amid
        scenes = [world.sample_scene(rng, width=self.width, height=self.height, frames=max(frames, 9), **kinds)
                  for _ in range(count)]  # fmt: skip
        if self.amid:
            scenes = [world.later(scene, rng.choice((0, rng.uniform(0, LATER)))) for scene in scenes]
        off = [astray(scene, rng) for scene in scenes], world.FPS * rng.uniform(1 - STRAY_TIME, 1 + STRAY_TIME)
        latents, strayed = (
            normalised(vae, clips.to(vae.device))[:, :, self.cut :] for clips in (self.draw(scenes), self.draw(*off))
        )
        answers, poses = sights(scenes, self.width, self.height, frames, self.cut)
        if self.latents is None:
            self.latents, self.strayed, self.answers, self.poses = (
                new.new_empty(self.keep, *new.shape[1:]) for new in (latents, strayed, answers, poses)
            )
        kept = self.latents, self.strayed, self.answers, self.poses
        for scene, *rows in zip(scenes, latents, strayed, answers, poses, strict=True):
            for tensor, row in zip(kept, rows, strict=True):
                tensor[self.oldest] = row
            self.scenes[self.oldest : self.oldest + 1] = [scene]
            self.oldest = (self.oldest + 1) % self.keep


def astray(scene: world.Scene, rng: random.Random) -> world.Scene:
    """The scene with its things a little away from where they are, and a little larger or smaller."""
    things = tuple(
        replace(thing, x=thing.x + rng.gauss(0, STRAY_BY), y=thing.y + rng.gauss(0, STRAY_BY),
                radius=thing.radius * (1 + rng.gauss(0, STRAY_SIZE)))
        for thing in scene.things
    )  # fmt: skip
    return replace(scene, things=things)


@torch.no_grad()
def normalised(vae: AutoencoderKLWan, clips: Tensor) -> Tensor:
    """Clips [B, F, H, W, 3] in 0..1 → normalised latents [B, 16, T, h, w] in bfloat16."""
    mean, std = (torch.tensor(v, device=clips.device).view(1, -1, 1, 1, 1)
                 for v in (vae.config.latents_mean, vae.config.latents_std))  # fmt: skip
    with train_vae.whole_sequence(vae), quick(clips.device):
        latents = train_vae.encode(vae, clips)[0]
    return ((latents.float() - mean) / std).to(torch.bfloat16)


def placed(vae: AutoencoderKLWan, latents: Tensor, free: Tensor, clips: Callable[[], Tensor], cut: int,
           rng: random.Random) -> Tensor:  # fmt: skip
    """`latents` with the known frames [T, H, W] of `free` as a canvas holds them (`canvas.place`).

    A canvas doesn't know what went before a clip that begins later than 0, so the causal VAE looks back on its first
    frame, held; and a single latent frame may be an image, held. clips: draws the pixels, where they are needed.
    """
    known = [False, *(free == 0).flatten(1).all(1).tolist(), False]
    edges = [i for i, (before, here) in enumerate(pairwise(known)) if here != before]
    runs = [(begin, end) for begin, end in zip(edges[::2], edges[1::2], strict=True) if begin > 0]
    drawn = clips() if runs else None
    latents = latents.clone()
    for begin, end in runs:
        shown = drawn[:, first_frame(begin + cut, 4) : first_frame(end + cut, 4)]
        if end - begin == 1 and rng.random() < 0.5:
            shown = shown[:, rng.randrange(4)][:, None].expand_as(shown)
        warm_up = shown[:, :1].expand(-1, 1 + (min(begin + cut, WARM_UP) - 1) * 4, -1, -1, -1)
        seen = normalised(vae, torch.cat([warm_up, shown], 1).to(vae.device))
        latents[:, :, begin:end] = seen[:, :, begin - end :]
    return latents


def build_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word of the world, lower-cased, punctuation dropped, `</s>` at the end."""
    words = ["<pad>", "</s>", "<unk>", *world.vocabulary()]
    core = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="<unk>"))
    core.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex("[^a-z0-9]+"), " "),
            normalizers.Replace(Regex(r"\ban\b"), "a"),
        ]
    )
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    core.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=TEXT_LENGTH
    )


def encode_text(encoder: UMT5EncoderModel, tokenizer, captions: list[str]) -> tuple[Tensor, Tensor, Tensor]:
    """Captions → embeddings [B, L, 64], zero from each one's length on, the lengths and the tokens [B, L - 1].

    L is one over the longest.
    """
    tokens = tokenizer(captions, padding=True, truncation=True, max_length=TEXT_LENGTH - 1, return_tensors="pt")
    ids, mask = tokens.input_ids.to(encoder.device), tokens.attention_mask.to(encoder.device)
    text = encoder(ids, mask).last_hidden_state * mask[..., None]
    return torch.nn.functional.pad(text, (0, 0, 0, 1)), mask.sum(1), ids


def draw_free(rng: random.Random, shape: tuple[int, int, int], known: dict = KNOWN) -> Tensor:
    """A random mask [T, H, W], 1 = free, 0 = known, constant within patches of 2×2 cells; some cell is always free."""
    t, h, w = shape
    free = torch.ones(t, h, w)
    kinds = {k: v for k, v in known.items() if t > 1 or k in ("none", "box")}
    kind = rng.choices(list(kinds), weights=list(kinds.values()))[0]
    if kind == "first":
        free[0] = 0
    elif kind == "prefix":
        free[: rng.randint(1, t - 1)] = 0
    elif kind == "suffix":
        free[rng.randint(1, t - 1) :] = 0
    elif kind == "ends":
        head = rng.randint(1, max(1, (t - 1) // 2))
        free[:head] = 0
        free[t - rng.randint(1, max(1, t - head - 1)) :] = 0
    elif kind == "frames":
        for frame in rng.sample(range(t), rng.randint(1, t - 1)):
            free[frame] = 0
    elif kind == "box":
        bh, bw = rng.randint(1, h // 2) * 2, rng.randint(1, w // 2) * 2
        top, left = rng.randint(0, (h - bh) // 2) * 2, rng.randint(0, (w - bw) // 2) * 2
        box = torch.zeros(h, w)
        box[top : top + bh, left : left + bw] = 1
        free[:] = box if rng.random() < 0.7 or box.all() else 1 - box
    return free if free.any() else torch.ones(t, h, w)


def build(seed: int) -> tuple[WanTransformer3DModel, UMT5EncoderModel]:
    """Untrained; the transformer's last layer at zero, so that it first predicts nothing."""
    torch.manual_seed(seed)
    dit, encoder = WanTransformer3DModel(**TRANSFORMER), UMT5EncoderModel(UMT5Config(**TEXT_ENCODER))
    torch.nn.init.zeros_(dit.proj_out.weight)
    torch.nn.init.zeros_(dit.proj_out.bias)
    return dit, encoder


def loss_of(
    dit, text: Tensor, lengths: Tensor, latents: Tensor, free: Tensor, padded_to: int, strayed: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Flow matching (Lipman et al. 2023) on the free cells: the model sees known ones clean, at timestep 0.

    While it samples, a model sees its own mistakes, in training never (Ning et al. 2023, "Input perturbation"): what it
    once put a pixel beside the known cells stays there, as on every training clip the two agree. So beside known cells
    some clips are noised from `strayed`, like `latents`, and the velocity is the one that leads back to `latents`.

    Returns the loss, and the tokens [B, N, D] after layer LAYER.
    """
    shift = torch.where(torch.rand(len(latents)) < EARLY, EARLY_SHIFT, SHIFT)
    sigma = fast_dit.draw_time(len(latents), shift).to(latents.device)
    noise = torch.randn_like(latents)
    level = sigma.view(-1, 1, 1, 1, 1) * free
    known = fast_dit.patch_known(free, TRANSFORMER["patch_size"])
    begun = latents
    if strayed is not None and known.any():
        off = ((torch.rand(len(latents)) < STRAY) & (sigma.cpu() > STRAY_UNTIL)).to(latents.device)
        begun = torch.where(off.view(-1, 1, 1, 1, 1) & (free > 0), strayed, latents)
    noisy = (1 - level) * begun + level * noise
    velocity_there = noise - begun + (begun - latents) / sigma.view(-1, 1, 1, 1, 1)
    dtype = quick_dtype(latents.device)
    velocity, tokens = fast_dit.forward(dit, noisy, sigma * 1000, known, text, lengths, padded_to, dtype, LAYER)
    error = (velocity - velocity_there).square() * free
    return error.sum() / (free.sum() * latents.shape[0] * latents.shape[1]), tokens


def train(out: Path, minutes: float, device: torch.device, seed: int, lr: float = 2e-3, lr_others: float = 1e-3,
          start: Path | None = None) -> None:  # fmt: skip
    """Trains for `minutes` on latents of `out/vae`; saves transformer, text_encoder, tokenizer and scheduler in `out`.

    start: a pocket folder whose weights to go on from; they know the simple scenes already.
    """
    vae = AutoencoderKLWan.from_pretrained(out / "vae").to(device).requires_grad_(False)
    tokenizer, (dit, encoder) = build_tokenizer(), build(seed)
    if start:  # and with its words: a token must go on meaning what it meant
        tokenizer = PreTrainedTokenizerFast.from_pretrained(start / "tokenizer")
        dit = WanTransformer3DModel.from_pretrained(start / "transformer")
        encoder = UMT5EncoderModel.from_pretrained(start / "text_encoder").float()  # the file's are halves
    dit, encoder = dit.to(device).train(), encoder.to(device).train()

    matrices = [p for p in dit.blocks.parameters() if p.ndim == 2]
    others = [p for p in (*dit.parameters(), *encoder.parameters()) if not any(p is m for m in matrices)]
    reading, seeing = (
        Reading(encoder.config.d_model).to(device),
        Seeing(dit.patch_embedding.out_channels).to(device),
    )
    lessons = torch.nn.ModuleList([reading, seeing])
    opts = optimizers(matrices, [*others, *lessons.parameters()], lr, lr_others, weight_decay=0.1)
    averages = {"dit_average": Average(dit, 0.999), "encoder_average": Average(encoder, 0.999)}
    run = Run(out / "dit_run", minutes, {"dit": dit, "encoder": encoder, "lessons": lessons, **averages}, opts)
    rng = random.Random(seed * 1_000_003 + run.step)
    torch.manual_seed(seed * 1_000_003 + run.step)

    near, far = ([Bucket(*b) for b in table] for table in (NEAR, FAR))
    while run.going():
        buckets = near if run.progress < NEAR_UNTIL else near + far
        kinds = world.SIMPLE if run.progress < SIMPLE_UNTIL and not start else {"pairs": PAIRS, "shapes": SHAPES}
        bucket = rng.choices(buckets, weights=[b.share for b in buckets])[0]
        while len(bucket.scenes) < bucket.keep:
            bucket.refresh(vae, rng, min(2 * bucket.batch, bucket.keep - len(bucket.scenes)), kinds)
        if run.step % REFRESH_EVERY == 0:
            bucket.refresh(vae, rng, 2 * bucket.batch, kinds)
        picks = rng.sample(range(bucket.keep), bucket.batch)
        latents, scenes = bucket.latents[picks], [bucket.scenes[i] for i in picks]
        captions = ["" if rng.random() < 0.1 else world.caption(scene, rng, "mixed") for scene in scenes]
        padded_to = rng.choices((TEXT_LENGTH, 512, 226), weights=(0.8, 0.15, 0.05))[0]

        set_rate(opts, schedule(run.progress, cooldown=0.8))
        free = draw_free(rng, tuple(latents.shape[2:]), KNOWN_AMID if bucket.amid else KNOWN)
        given = placed(vae, latents, free, partial(bucket.draw, scenes), bucket.cut, rng)
        text, lengths, ids = encode_text(encoder, tokenizer, captions)
        strayed = bucket.strayed[picks].float()
        loss, tokens = loss_of(dit, text, lengths, given.float(), free.to(device), padded_to, strayed)
        read = reading(text, *(q.to(device) for q in questions(ids, scenes, tokenizer)))
        seen = seeing(tokens, bucket.answers[picks].to(device), bucket.poses[picks].to(device))
        (loss + READING * read + SEEING * seen).backward()
        torch.nn.utils.clip_grad_norm_(others, 1.0)
        for opt in opts:
            opt.step()
        for module in (dit, encoder, lessons):
            module.zero_grad(set_to_none=True)
        averages["dit_average"].update(dit)
        averages["encoder_average"].update(encoder)
        run.log(loss=loss.item(), reading=read.item(), seeing=seen.item())
        if run.step % 1000 == 0:
            save(out, dit, encoder, tokenizer, averages)
    save(out, dit, encoder, tokenizer, averages)


def save(out: Path, dit, encoder, tokenizer, averages: dict) -> None:
    """Writes the averaged weights as the folders of a diffusers pipeline."""
    for name, module, average in (("transformer", dit, "dit_average"), ("text_encoder", encoder, "encoder_average")):
        trained = {k: v.clone() for k, v in module.state_dict().items()}
        module.load_state_dict(averages[average].state)
        module.save_pretrained(out / name)
        module.load_state_dict(trained)
    tokenizer.save_pretrained(out / "tokenizer")
    FlowMatchEulerDiscreteScheduler(shift=SAMPLING_SHIFT).save_pretrained(out / "scheduler")


def latent_to_rgb(vae: AutoencoderKLWan) -> tuple[list, list]:
    """Weight [16][3] and bias [3] of the map from raw latents to RGB in 0..1 that previews use (least squares)."""
    rng = random.Random(3)
    scenes = [world.sample_scene(rng, width=64, height=64, frames=17) for _ in range(64)]
    clips = world.render(scenes, 64, 64, 17)
    with torch.no_grad(), train_vae.whole_sequence(vae):
        latents = train_vae.encode(vae, clips)[0]
    small = rearrange(clips[:, ::4], "b t (h p) (w q) c -> b t h w (p q) c", p=8, q=8).mean(-2)
    a = rearrange(latents, "b c t h w -> (b t h w) c")
    a = torch.cat([a, torch.ones(len(a), 1)], dim=1)
    solution = torch.linalg.lstsq(a, small.reshape(-1, 3)).solution
    return [[round(x, 5) for x in row] for row in solution[:-1].tolist()], [round(x, 5) for x in solution[-1].tolist()]
