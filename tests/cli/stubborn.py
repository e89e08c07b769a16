"""`python stubborn.py …` is `spacetime …` with nodes that never ask whether they should stop."""

import sys
import time

from spacetime_nodes.host.cli import known_classes, main


def sleep():
    print("asleep", file=sys.stderr, flush=True)
    time.sleep(60)


class Sleepy:
    CATEGORY, FUNCTION, RETURN_TYPES, OUTPUT_NODE = "test", "run", (), True
    INPUT_TYPES = classmethod(lambda cls: {})

    def run(self):
        sleep()
        return ()


class Stuck:
    """A video whose third frame doesn't come."""

    CATEGORY, FUNCTION, RETURN_TYPES = "test", "run", ("VIDEO",)
    INPUT_TYPES = classmethod(lambda cls: {})

    def run(self):
        import torch
        from spacetime_nodes.media.video import StreamVideo

        def frames():
            yield torch.zeros(2, 64, 64, 3)
            sleep()

        return (StreamVideo(frames, width=64, height=64, frame_count=9, fps=8),)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], {**known_classes(), "Sleepy": Sleepy, "Stuck": Stuck}))
