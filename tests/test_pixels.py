"""Known cells as pixels: gray where nothing is known, and gone as soon as they are no longer those of the cells."""

import torch
from clips import video_of

SIZE, FRAMES = 48, 9


def canvas(nodes, pocket):
    run = nodes["SpacetimeGrid"]().run
    return run(pocket.dit, pocket.vae, "custom", 0, SIZE, SIZE, 0.0, 8.0, FRAMES, 1)["result"][0]


def place(nodes, pocket, latent, time, frames, strength=1.0):
    run = nodes["SpacetimePlaceFrames"]().run
    return run(pocket.vae, latent, time, "cover", strength, video=video_of(frames)[0])["result"][0]


def pixels(latent):
    from spacetime_nodes.spacetime.canvas import cells
    from spacetime_nodes.spacetime.pixels import pixels_of

    return pixels_of(latent, cells(latent)[1])


def test_an_empty_canvas_is_gray(nodes, pocket, host):
    empty = pixels(canvas(nodes, pocket))
    frames = torch.cat(list(empty.frames()))
    assert frames.shape == (FRAMES, SIZE, SIZE, 3) and (frames == 0.5).all() and not empty.mask.any()


def test_what_is_placed_stands_in_its_frames_and_the_rest_is_gray(nodes, pocket, host):
    known = pixels(place(nodes, pocket, canvas(nodes, pocket), "start", 5))
    frames, source = torch.cat(list(known.frames())), video_of(5)[1]
    assert torch.equal(frames[:5], source) and (frames[5:] == 0.5).all()
    assert known.mask[:, 0, 0].tolist() == [1] * 5 + [0] * 4


def test_a_last_image_is_one_frame_not_its_whole_cell(nodes, pocket, host):
    known = pixels(place(nodes, pocket, canvas(nodes, pocket), "end", 1))
    frames = torch.cat(list(known.frames()))
    assert torch.equal(frames[-1:], video_of(1)[1]) and (frames[:-1] == 0.5).all()


def test_a_hole_is_gray_pixel_by_pixel(nodes, pocket, host):
    run, grid = nodes["SpacetimeMaskRegion"]().run, canvas(nodes, pocket)
    box = (0.5, 0.5, 0.5, 0.5, 0, 0, 0, 0, 0, 0, 0)
    known = pixels(run(pocket.vae, grid, *box, "cover", video_of(FRAMES)[0])["result"][0])
    frames, source = torch.cat(list(known.frames())), video_of(FRAMES)[1]
    hole = (frames == 0.5).all(-1).all(0)
    assert 0 < hole.sum() < hole.numel() and torch.equal(frames[:, ~hole], source[:, ~hole])


def test_pixels_of_other_cells_are_not_taken(nodes, pocket, host):
    """Another pack has freed what was known, or knows more than was placed."""
    placed = place(nodes, pocket, canvas(nodes, pocket), "start", 5)
    freed = {**placed, "noise_mask": torch.ones_like(placed["noise_mask"])}
    more = {**placed, "noise_mask": torch.zeros_like(placed["noise_mask"])}
    cut = {**placed, "samples": placed["samples"][:, :, :1], "noise_mask": placed["noise_mask"][:, :, :1]}
    assert pixels(placed) is not None
    assert pixels(freed) is None and pixels(more) is None and pixels(cut) is None


def test_partly_known_cells_have_no_pixels(nodes, pocket, host):
    known = pixels(place(nodes, pocket, canvas(nodes, pocket), "start", 5, strength=0.5))
    assert not known.mask.any() and (torch.cat(list(known.frames())) == 0.5).all()
