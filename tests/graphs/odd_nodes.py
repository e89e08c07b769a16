"""Nodes with the inputs that ours don't have: of any type, of two types, lists as values, a seed without its mark,
an upload with fields after it."""


class AnySwitch:
    RETURN_TYPES, FUNCTION, CATEGORY = ("*", "LATENT"), "run", "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}, "optional": {"one": ("*", {}), "two": ("LATENT", {}), "three": ("LATENT,IMAGE", {})}}

    def run(self, one=None, two=None, three=None):
        return (one, two)


class OddFields:
    RETURN_TYPES, FUNCTION, CATEGORY = ("INT", "FLOAT"), "run", "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "forced": ("INT", {"forceInput": True}),
                "seed": ("INT", {"default": 0}),
                "number": ("INT,FLOAT", {"widgetType": "FLOAT", "default": 1.5}),
                "several": (["a", "b", "c"], {"multi_select": True}),
                "picked": ("COMBO", {"options": ["x", "y"], "default": "y"}),
                "numbers": ([1, 2, 4], {"default": 2}),
            },
            "optional": {
                "noise_seed": ("INT", {"default": 0}),
                "counter": ("INT", {"default": 3, "control_after_generate": True}),
                "words": ("STRING", {"multiline": True, "dynamicPrompts": True}),
            },
            "hidden": {"prompt": "PROMPT"},
        }

    def run(self, **values):
        return (0, 0.0)


class OddUpload:
    """An upload's button stands among the fields, and what it saves among their values."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("IMAGE",), "run", "test"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"image": (["sunset.png"], {"image_upload": True}), "strength": ("INT", {"default": 3})},
            "optional": {"more": ("FLOAT", {"default": 0.5}), "words": ("STRING", {"default": "none"})},
        }

    def run(self, **values):
        return (None,)


class Finish:
    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "run", "test", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"any": ("*", {}), "latent": ("LATENT", {}), "picture": ("IMAGE", {}), "many": ("INT", {})}}

    def run(self, **values):
        return {}


NODE_CLASS_MAPPINGS = {"AnySwitch": AnySwitch, "OddFields": OddFields, "OddUpload": OddUpload, "Finish": Finish}
