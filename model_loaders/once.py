"""Modules that compute once for each input: what both prompts or all steps share isn't computed again. Same bits."""

from contextlib import ExitStack, contextmanager


@contextmanager
def once(modules, kept):
    """Within, each of `modules` gives the answer it gave before when it is handed the same tensor (same memory) again,
    one of the `kept` last ones.

    Its inputs must not be changed in place meanwhile; nobody does in a forward pass.
    """
    with ExitStack() as stack:
        for module in modules:
            own = module.__dict__.get("forward")  # offloading hooks set one
            module.forward = _remembering(module.forward, kept)
            stack.callback(_restore, module, own)
        yield


def _remembering(forward, kept):
    answers = {}  # place and shape of the input → (input, kept so that its memory isn't given to another; answer)

    def remembered(x):
        key = (x.data_ptr(), x.shape, x.stride(), x.dtype)
        if key not in answers:
            while len(answers) >= kept:
                answers.pop(next(iter(answers)))
            answers[key] = (x, forward(x))
        return answers[key][1]

    return remembered


def _restore(module, own):
    del module.forward
    if own is not None:
        module.forward = own
