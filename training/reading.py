"""A lesson for the text encoder: the words of each thing must tell the whole thing they belong to.

Flow matching alone teaches an encoder this small which words a caption holds, hardly which belong together: of two
things, colour and motion are swapped as often as not. So beside it, linear heads on the encoder's output at a thing's
colour and shape words are asked what that thing is and does. The heads are thrown away; the encoder keeps the habit.
"""

import torch
from spacetime_nodes.model_loaders.pocket_captions import COLOURS, MOTIONS, SIZES, SYNONYMS, Scene
from torch import Tensor, nn

ASKED = {"colour": tuple(COLOURS), "shape": tuple(SYNONYMS), "motion": MOTIONS, "quick": (False, True),
         "size": tuple(SIZES)}  # fmt: skip


class Reading(nn.Module):
    """One linear head for each thing asked, on embeddings of `width`."""

    def __init__(self, width: int):
        super().__init__()
        self.heads = nn.ModuleDict({name: nn.Linear(width, len(answers)) for name, answers in ASKED.items()})

    def forward(self, embeddings: Tensor, where: Tensor, answers: Tensor) -> Tensor:
        """Cross-entropy, the mean over all questions; 0 of none. embeddings [B, L, width]; the rest from `questions`.

        What a caption leaves unsaid can't be told; that adds a constant.
        """
        if not len(where):
            return embeddings.new_zeros(())
        told = embeddings[where[:, 0], where[:, 1]]
        losses = [nn.functional.cross_entropy(head(told), answers[:, k]) for k, head in enumerate(self.heads.values())]
        return torch.stack(losses).mean()


def questions(ids: Tensor, scenes: list[Scene], tokenizer) -> tuple[Tensor, Tensor]:
    """Where each thing is named and what is right there.

    ids [B, L]: tokens of one caption a scene. Returns where [Q, 2]: row and position of each thing's colour word and of
    the shape word after it; and answers [Q, 5]: indices into ASKED. A caption that doesn't name a thing asks nothing.
    """
    where, answers = [], []
    for row, (tokens, scene) in enumerate(zip(ids.tolist(), scenes, strict=True)):
        for thing in scene.things:
            colour = tokenizer.convert_tokens_to_ids(thing.colour)
            if colour in tokens:
                position = tokens.index(colour)
                right = [options.index(getattr(thing, name)) for name, options in ASKED.items()]
                where += [(row, position), (row, position + 1)]
                answers += [right, right]
    return torch.tensor(where).view(-1, 2), torch.tensor(answers).view(-1, len(ASKED))
