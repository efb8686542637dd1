"""Augmentation changes images as it says, by the given generator alone."""

import pytest
import torch

from seq2seq.tasks.captioning.augmentation import augment, names_sides


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def noise(rows=4, size=12):
    return torch.randint(0, 256, (rows, 3, size, size), dtype=torch.uint8, generator=generator(9))


def slope(rows=64, size=32):
    """Brightness grows from left to right: 0 to 248, linear."""
    ramp = torch.arange(size, dtype=torch.float32) * (256 / size)
    return ramp.to(torch.uint8).expand(rows, 3, size, size).contiguous()


def test_nothing_switched_on_is_the_same_image():
    assert torch.equal(augment(noise(), generator()), noise())


def test_random_from_the_generator_alone():
    options = {"crop": 0.5, "flip": 0.5, "colour": 0.3}
    torch.manual_seed(1)
    first = augment(noise(), generator(3), **options)
    torch.manual_seed(2)
    assert torch.equal(augment(noise(), generator(3), **options), first)
    assert not torch.equal(augment(noise(), generator(4), **options), first)


def test_options_do_not_change_what_is_drawn_next():
    states = []
    for options in ({}, {"crop": 0.5}, {"flip": 0.5, "colour": 0.2, "crop": 0.9, "erase": 0.5}):
        source = generator()
        augment(noise(), source, **options)
        states.append(source.get_state())
    assert torch.equal(states[0], states[1]) and torch.equal(states[0], states[2])


def test_flip():
    assert torch.equal(augment(noise(), generator(), flip=1.0), noise().flip(-1))
    found = augment(noise(200), generator(), flip=0.5)
    share = (found == noise(200).flip(-1)).flatten(1).all(1).float().mean()
    assert 0.35 < share < 0.65


def test_flip_of_single_images():
    found = augment(noise(3), generator(), flip=torch.tensor([0.0, 1.0, 0.0]))
    wanted = noise(3)
    wanted[1] = wanted[1].flip(-1)
    assert torch.equal(found, wanted)


def test_a_rectangle_of_a_share_of_the_images_is_covered():
    dark = torch.zeros(400, 3, 40, 40, dtype=torch.uint8)
    found = augment(dark, generator(), erase=0.25)
    covered = (found > 0).all(1)  # (B, P, P)
    areas = covered.flatten(1).float().mean(1)
    assert 0.18 < (areas > 0).float().mean() < 0.32
    assert areas.max() < 0.28 and areas[areas > 0].min() > 0.01
    # a rectangle: as many places as its rows times its columns
    rows, columns = covered.any(2).sum(1), covered.any(1).sum(1)
    assert torch.equal(covered.sum((1, 2)), rows * columns)
    assert found[areas > 0].flatten(2).amax(2).unique(dim=0).tolist() == [[124, 116, 104]]
    assert (augment(dark, generator(), erase=1.0) > 0).flatten(1).any(1).all()


def test_crops_cover_the_share_that_was_asked_for():
    found = augment(slope(), generator(), crop=0.4).float()
    # The ramp's rise across the result is the width of the crop.
    width = (found[:, 0, 0, -1] - found[:, 0, 0, 0]) / 248
    assert width.min() > (0.4 * 3 / 4) ** 0.5 - 0.05 and width.max() <= 1.001
    assert width.std() > 0.05
    start = found[:, 0, 0, 0] / 256
    assert start.min() < 0.05 and (start + width).max() > 0.95  # anywhere in the image
    down = augment(slope().transpose(2, 3).contiguous(), generator(), crop=0.4).float()
    height = (down[:, 0, -1, 0] - down[:, 0, 0, 0]) / 248
    area = width * height
    assert area.min() > 0.35 and area.max() < 1.01 and area.std() > 0.1


def test_a_crop_may_be_mirrored():
    plain = augment(slope(), generator(), crop=0.6)
    mirrored = augment(slope(), generator(), crop=0.6, flip=1.0)
    torch.testing.assert_close(mirrored.int(), plain.flip(-1).int(), atol=1, rtol=0)


def test_size():
    assert augment(slope(2), generator(), size=16).shape == (2, 3, 16, 16)
    found = augment(slope(2), generator(), size=16)[0, 0, 0]
    assert (found[1:].int() - found[:-1].int() - 16).abs().max() <= 1


def test_colours():
    flat = torch.tensor([100, 50, 20], dtype=torch.uint8)[None, :, None, None]
    images = flat.expand(300, 3, 4, 4).contiguous()
    found = augment(images, generator(), colour=0.4).float()[:, :, 0, 0]  # (B, 3)
    grey = found @ torch.tensor([0.299, 0.587, 0.114])
    before = 0.299 * 100 + 0.587 * 50 + 0.114 * 20
    assert 0.59 < (grey / before).min() < 0.65 and 1.35 < (grey / before).max() < 1.42
    spread = (found[:, 0] - found[:, 2]) / grey * before / 80
    assert spread.min() < 0.65 and spread.max() > 1.35 and spread.min() > 0.3


def test_contrast_of_a_grey_image():
    images = torch.tensor([100, 140], dtype=torch.uint8).repeat(8, 4)  # (8, 8): stripes
    images = images.expand(100, 3, 8, 8).contiguous()
    found = augment(images, generator(), colour=0.5).float()
    contrast = (found[:, 0, 0, 1] - found[:, 0, 0, 0]) / found.mean((1, 2, 3)) * 120 / 40
    assert 0.45 < contrast.min() < 0.6 and 1.4 < contrast.max() < 1.55


def test_extremes_stay_bytes():
    images = torch.tensor([0, 255], dtype=torch.uint8).repeat(12, 6).expand(50, 3, 12, 12)
    found = augment(images.contiguous(), generator(), crop=0.3, flip=0.5, colour=1.0)
    assert found.dtype == torch.uint8 and found.shape == images.shape


@pytest.mark.parametrize("options", [{"crop": 0.0}, {"crop": 1.5}, {"colour": -0.1}])
def test_out_of_range(options):
    with pytest.raises(ValueError, match=next(iter(options))):
        augment(noise(), generator(), **options)


def test_names_sides():
    assert names_sides(["A dog .", "A cat to the Left of a dog ."])
    assert names_sides(["the rightmost one"])
    assert not names_sides(["A bright cleft .", "An upright bear ."])
