"""What the video follows without showing it: another video's course, and pictures of what should appear."""

from ..spacetime.names import CONTROL, FACE, REFERENCES
from . import runtime
from .footage import FIT, LATENT, VAE, at_rate, brought, encoder_of, footage, frame_at, rate_of, seconds_in, wired

UNWIRED = object()  # in a dry run, where what is wired has no value
FACES = "Wan Animate: the face of whoever moves so, cut out of each frame, a square of 512 pixels."


class SpacetimeControlVideo:
    TITLE = "Control Video"
    CATEGORY = "Spacetime/canvas"
    DESCRIPTION = (
        "Lets the new video follow the course of another one, drawn as poses, depth or edges. For models trained to: "
        "Wan VACE, Wan Animate, CogVideoX Fun Control, EasyAnimate Control, Cosmos-Transfer2.5, LTX-2 with an IC-LoRA."
    )
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The same canvas, which now follows the video, for the sampler.",)
    FUNCTION = "run"
    DRY_RUN = "plan"

    @classmethod
    def INPUT_TYPES(cls):
        strength = {"default": 1.0, "min": 0.0, "max": 2.0, "step": 0.01, "display": "slider"}
        return {
            "required": {
                "vae": VAE,
                "latent": LATENT,
                "time": (
                    "STRING",
                    {"default": "start", "tooltip": "Where the control video begins: start, or seconds such as 1.5."},
                ),
                "fit": FIT,
                "strength": (
                    "FLOAT",
                    {
                        **strength,
                        "tooltip": "How closely it is followed. Wan VACE and Cosmos-Transfer take 0 to 2, LTX-2 0 to "
                        "1, others 1.",
                    },
                ),
            },
            "optional": {
                "video": footage("Poses, depth or edges", "VIDEO"),
                "images": footage("The same as images, at the canvas's frame rate", "IMAGE"),
                "face": ("VIDEO", {"tooltip": f"{FACES} Brought to the canvas's frame rate."}),
                "face_images": ("IMAGE", {"tooltip": "The same as images, at the canvas's frame rate."}),
            },
        }

    def run(self, vae, latent, time, fit, strength, video=None, images=None, face=None, face_images=None):
        from ..spacetime.canvas import Part, cells, spans_of
        from ..spacetime.follow import Control
        from ..spacetime.pixels import Shown

        clip = brought(vae, latent, fit, wired(vae, latent, images, video))
        spans, before = spans_of(latent, vae.config.time_factor), latent.get(CONTROL)
        first, frames = frame_at(time, rate_of(latent), spans, clip.frame_count), spans[-1].last
        if not 0 <= first < frames:
            raise ValueError(f"the control video begins at frame {first}, which isn't on a canvas of {frames}")
        last = min(first + clip.frame_count, frames)
        if last - first < clip.frame_count:
            runtime.notice(f"{clip.frame_count} frames of control → {last - first}, to the canvas's end")
        shown = (*(before.shown if before else ()), Shown(first, Part(clip, 0, last - first)))
        if any(one.first < last and one.first + one.source.frame_count > first for one in shown[:-1]):
            raise ValueError(f"frames {first}–{last - 1} follow a control video already; begin this one elsewhere")
        control = Control(tuple(cells(latent)[0].shape[2:]), shown, strength)
        made = {**latent, "encoder": encoder_of(vae), CONTROL: control}
        if face is not None or face_images is not None:
            faces = at_rate(latent, wired(vae, latent, face_images, face))
            of_face = Part(faces, 0, min(faces.frame_count, last - first))
            made[FACE] = (*latent.get(FACE, ()), Shown(first, of_face))
        return runtime.shown(f"frames {first}–{last - 1} of {frames} follow the control video", made)

    def plan(self, vae, latent, time, fit, strength, video=None, images=None, face=UNWIRED, face_images=UNWIRED):
        seconds_in(time)
        faces = {} if face is face_images is UNWIRED else {FACE: ()}
        return (latent and {**latent, CONTROL: strength, **faces},)


class SpacetimeReferenceImages:
    TITLE = "Reference Images"
    CATEGORY = "Spacetime/canvas"
    DESCRIPTION = (
        "Shows the model who or what should appear: a face, a dress, a place. The pictures are no frames of the video. "
        "For models trained to: Wan VACE, Wan Animate, EasyAnimate Control."
    )
    RETURN_TYPES = ("LATENT",)
    RETURN_NAMES = ("latent",)
    OUTPUT_TOOLTIPS = ("The same canvas with its pictures, for the sampler.",)
    FUNCTION = "run"
    DRY_RUN = "plan"

    @classmethod
    def INPUT_TYPES(cls):
        tip = "One picture, or several as a batch; those of different sizes in a node each, chained."
        return {"required": {"vae": VAE, "latent": LATENT, "images": ("IMAGE", {"tooltip": tip})}}

    def run(self, vae, latent, images):
        pictures = (*latent.get(REFERENCES, ()), *images[..., :3].float().split(1))
        made = {**latent, "encoder": encoder_of(vae), REFERENCES: pictures}
        return runtime.shown("1 picture" if len(pictures) == 1 else f"{len(pictures)} pictures", made)

    def plan(self, vae, latent, images):
        return (latent and {**latent, REFERENCES: (*latent.get(REFERENCES, ()), images)},)


NODES = [SpacetimeControlVideo, SpacetimeReferenceImages]
