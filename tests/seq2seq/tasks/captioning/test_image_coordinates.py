"""Where a vector stands in the image, told to the decoder."""

import torch

from seq2seq.layers.image_encoder import ResidualCNN
from seq2seq.tasks.captioning.config import CaptioningConfig


def encoder(coordinates):
    config = CaptioningConfig().model.encoder
    config.stem, config.widths, config.blocks, config.strides = 8, [8, 16], [1, 1], [1, 2]
    config.coordinates = coordinates
    torch.manual_seed(1)
    return ResidualCNN(config).eval()


def test_column_and_row_are_added_through_a_linear_map():
    images = torch.randn(2, 3, 12, 20)
    plain, placed = encoder(False), encoder(True)
    placed.load_state_dict(plain.state_dict(), strict=False)
    added = (placed(images)[0] - plain(images)[0]).unflatten(1, (3, 5))  # (B, H, W, D)
    across, down = placed.places.weight.unbind(1)  # (D,) each
    for row, y in enumerate((-1.0, 0.0, 1.0)):
        for column, x in enumerate((-1.0, -0.5, 0.0, 0.5, 1.0)):
            wanted = (x * across + y * down).expand(2, -1)
            torch.testing.assert_close(added[:, row, column], wanted, atol=1e-5, rtol=0)


def test_without_them_there_are_no_weights_for_them():
    assert not any("places" in name for name in encoder(False).state_dict())
