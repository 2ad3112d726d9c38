from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from whippet_training import backbones
from whippet_training.backbones import create_backbone
from whippet_training.errors import TrainingError
from whippet_training.inference import Preprocessing


def test_joined_backbones_give_the_features_of_each_on_the_same_photo() -> None:
    joined = create_backbone("tf_efficientnet_lite0+tf_efficientnet_lite1", image_size=96)
    photos = torch.rand(2, 3, 96, 96) * 2 - 1
    first, second = (create_backbone(f"tf_efficientnet_lite{size}", image_size=96) for size in (0, 1))
    with torch.inference_mode():
        features = joined.module(photos)
        torch.testing.assert_close(features, torch.cat([first.module(photos), second.module(photos)], dim=1))
    assert joined.width == features.shape[1] == first.width + second.width
    assert [network.name for network in joined.networks()] == ["tf_efficientnet_lite0", "tf_efficientnet_lite1"]
    assert {network.preprocessing for network in joined.networks()} == {first.preprocessing}


def test_a_network_behind_anothers_preprocessing_sees_what_its_own_would_show_it() -> None:
    own = create_backbone("tf_efficientnet_lite0", image_size=64)
    other = replace(own.preprocessing, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), resize=70)
    behind = backbones._behind(other, own)
    raw = torch.rand(1, 3, 64, 64)

    def normalised(preprocessing: Preprocessing) -> torch.Tensor:
        mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (preprocessing.mean, preprocessing.std))
        return (raw - mean) / std

    with torch.inference_mode():
        torch.testing.assert_close(
            behind.module(normalised(other)), own.module(normalised(own.preprocessing)), atol=1e-4, rtol=1e-4
        )


def test_the_input_may_be_larger_and_show_more_of_the_photo() -> None:
    preprocessing = create_backbone("tf_efficientnet_lite0", image_size=320).preprocessing
    assert (preprocessing.crop, preprocessing.resize) == (320, 365)  # 320 / 0.875
    preprocessing = create_backbone("tf_efficientnet_lite0", image_size=256, crop_pct=1.0).preprocessing
    assert (preprocessing.crop, preprocessing.resize) == (256, 256)
    preprocessing = create_backbone("tf_efficientnet_lite0").preprocessing
    assert (preprocessing.crop, preprocessing.resize) == (224, 256)


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0+nothing", "nothing+tf_efficientnet_lite0", "+", ""])
def test_a_name_that_timm_does_not_know_is_told(name: str) -> None:
    with pytest.raises(TrainingError, match="timm has no backbone named"):
        create_backbone(name)
