"""name → a function that makes a tiny model."""

MODELS = {}


def model(name, **shape):
    def registered(make):
        MODELS[name] = lambda: make(**shape)
        return make

    return registered
