"""The choices of the sampler by the names users know. Pure Python: menus and saved graphs need them without torch."""

AUTO = "auto"  # the model's own scheduler

# name -> (diffusers class, settings that make it a flow-matching solver). All take the velocity, noise - x0.
# DEIS has such a setting too, but doesn't arrive at x0 (diffusers 0.42).
FLOW = {"prediction_type": "flow_prediction", "use_flow_sigmas": True}
SCHEDULERS = {
    "euler": ("FlowMatchEulerDiscreteScheduler", {}),
    "unipc": ("UniPCMultistepScheduler", FLOW),
    "dpm++ 2m": ("DPMSolverMultistepScheduler", {**FLOW, "algorithm_type": "dpmsolver++"}),
    "dpm++ 2m sde": ("DPMSolverMultistepScheduler", {**FLOW, "algorithm_type": "sde-dpmsolver++"}),
    "heun": ("FlowMatchHeunDiscreteScheduler", {}),
}

# name -> class in diffusers.guiders. These need only the two predictions, so they work with every model here.
GUIDERS = {
    "cfg": "ClassifierFreeGuidance",
    "cfg-zero*": "ClassifierFreeZeroStarGuidance",
    "apg": "AdaptiveProjectedGuidance",
    "tangential cfg": "TangentialClassifierFreeGuidance",
}

# Guiders of one family each, that need more predictions of its model: DiTFacts.guiders names them.
JOINT = "ltx-2"
# What a model predicts with a part of it off, to be guided away from it: attention in one block; picture and sound
# seeing each other. As diffusers names predictions.
SKIPPED, ISOLATED = "pred_cond_stg", "pred_cond_modality"

# how a canvas that is longer or larger than the model was trained for is seen
WINDOWS = ("auto", "whole", "autoregressive", "overlapping")

# In which order a model finishes sections that see, beside themselves, the frames next to them that are there already.
BACKWARD, FORWARD = "from the end to the start", "from the start to the end"

# What a video may follow beside words, by its name in LATENT and DiTFacts.follows; and how closely.
CONTROL, REFERENCES, STRENGTH = "control video", "reference images", "control strength"
FACE = "face video"  # beside a control video
