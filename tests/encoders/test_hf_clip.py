from __future__ import annotations

import pytest
import torch

from lit_mmembed.encoders.hf_clip import HfClipBackbone
from lit_mmembed.encoders.tokenizer import padded
from lit_mmembed.errors import InputError
from tests.encoders.small import TEXTS, hf_folder, jpeg


@torch.no_grad()
def test_vectors_are_those_of_transformers(tmp_path):
    import io

    from PIL import Image
    from transformers import AutoImageProcessor, AutoTokenizer, CLIPModel

    from lit_mmembed.encoders.images import normalised

    folder = hf_folder(tmp_path)
    backbone, model = HfClipBackbone(folder).eval(), CLIPModel.from_pretrained(folder).eval()
    inputs = AutoTokenizer.from_pretrained(folder)(
        TEXTS, padding="max_length", truncation=True, max_length=24, return_tensors="pt"
    )
    expected = model.get_text_features(**inputs).pooler_output
    own = backbone.encode_text(padded(backbone.tokenizer(TEXTS), backbone.tokenizer.pad_id))
    torch.testing.assert_close(own, expected, atol=1e-5, rtol=1e-4)

    encoded = jpeg(1, (90, 70))
    image = Image.open(io.BytesIO(encoded))
    inputs = AutoImageProcessor.from_pretrained(folder)(image, return_tensors="pt")
    expected = model.get_image_features(**inputs).pooler_output
    mean, std = torch.tensor(backbone.images.mean), torch.tensor(backbone.images.std)
    own = backbone.encode_image(normalised(backbone.images(encoded).unsqueeze(0), mean, std))
    torch.testing.assert_close(own, expected, atol=2e-2, rtol=0)  # their resize differs by a step of 1/255


def test_a_folder_without_a_model_is_an_error(tmp_path):
    with pytest.raises(InputError, match="no CLIP model"):
        HfClipBackbone(tmp_path)
