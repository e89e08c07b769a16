"""What Sample is asked for and a model can't do, told before anything is loaded."""

from ..spacetime.forcing import Forcing
from ..spacetime.names import CONTROL, FACE, GUIDERS, JOINT, REFERENCES, STRENGTH

FOLLOWERS = {
    CONTROL: "Wan VACE, Wan Animate, CogVideoX Fun Control, EasyAnimate Control, Cosmos-Transfer2.5 or LTX-2",
    FACE: "Wan Animate",
    REFERENCES: "Wan VACE, Wan Animate or EasyAnimate Control",
}


def check_guider(dit, guider: str):
    if dit is not None and guider == JOINT and JOINT not in dit.config.guiders:
        raise ValueError(f"guider {guider!r} is LTX-2's; {dit.config.family} takes {', '.join(GUIDERS)}")


def check_follows(dit, latent: dict):
    """Raises ValueError where the canvas follows what this model can't."""
    control = latent.get(CONTROL, 1.0)
    strength = getattr(control, "strength", control)  # a dry run has the number alone
    for one, models in FOLLOWERS.items():
        if one in latent and one not in dit.config.follows:
            raise ValueError(f"{dit.identity} follows no {one}; {models} would be right")
    if len(latent.get(REFERENCES, ())) > 1 and not dit.family.Adapter.reference_frames:
        raise ValueError(f"{dit.identity} takes one reference image, found {len(latent[REFERENCES])}")
    if strength != 1 and STRENGTH not in dit.config.follows:
        raise ValueError(f"{dit.identity} follows a control video at strength 1 alone, found {strength:g}")
    check_control(dit, latent, strength)


def check_control(dit, latent: dict, strength: float):
    """Raises ValueError where a model that takes a control video as tokens can't take this one so."""
    scale = dit.config.control_scale
    if CONTROL not in latent or not scale:
        return
    if strength > 1:
        raise ValueError(f"{dit.identity} follows a control video at strengths from 0 to 1, found {strength:g}")
    rows, columns = (latent["shape"] if "shape" in latent else latent["samples"].shape)[-2:]
    if rows % scale or columns % scale:
        raise ValueError(
            f"the IC-LoRA takes a control video {scale} times smaller than the canvas, whose {columns}×{rows} latent "
            f"cells can't be divided by {scale}; choose another size"
        )


def check_reads(dit, text_encoder):
    """Raises ValueError where this transformer reads what this encoder hasn't."""
    for name, hint in text_encoder.config.lacks.items():
        if name in dit.config.reads:
            raise ValueError(f"{dit.identity} can't read {text_encoder.identity}: {hint}")


def forced(dit, latent: dict, lag: int, block: int, causal: bool, known_noise: int) -> Forcing:
    """Raises ValueError where this model can't."""
    own = dit.config.forcing if dit is not None else 1
    if known_noise and dit is not None and not dit.config.known_noise:
        raise ValueError(
            f"known_noise is for SkyReels-V2 DF and LTX-Video 0.9.5 and later, not for {dit.identity}; switch it off"
        )
    asked = {"lag": lag, "causal": causal}
    for name in (name for name, value in asked.items() if value):
        if not own:
            trained = "models trained with diffusion forcing (SkyReels-V2 DF)"
            raise ValueError(f"{name} is for {trained}, and this {dit.config.family} wasn't; switch it off")
        if latent.get("ring"):
            raise ValueError(f"{name} is for videos with a beginning, and a loop has none; switch it off")
    return Forcing(lag, block or own or 1, causal, known_noise)
