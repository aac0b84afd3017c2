from __future__ import annotations

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

from lit_mmembed.encoders.clip_fusion import prompted_text
from lit_mmembed.errors import InputError
from lit_mmembed.types import EncoderRow, Side
from tests.encoders.small import jpeg, mixed_rows, own_small
from tests.processes import in_processes

FOX, CAT = EncoderRow("a red fox", None, Side.QUERY), EncoderRow(None, jpeg(), Side.QUERY)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    torch.manual_seed(0)
    return own_small(tmp_path_factory.mktemp("small")).eval()


def test_the_vector_of_a_row_is_the_normalised_sum_of_text_and_image(encoder):
    from lit_mmembed.encoders.images import normalised

    row = EncoderRow("a red fox", jpeg(3), Side.CANDIDATE)
    features = encoder.preprocess([row])
    text = encoder.backbone.encode_text(features["tokens0"])
    image = encoder.backbone.encode_image(normalised(features["pixels"], encoder.pixel_mean, encoder.pixel_std))
    expected = torch.nn.functional.normalize(text + image, dim=-1)
    torch.testing.assert_close(encoder(features), expected)


def test_an_image_query_with_an_instruction_has_the_instruction_as_its_text():
    assert prompted_text(EncoderRow(None, b"image", Side.QUERY, "find a caption")) == "Find a caption."
    assert prompted_text(EncoderRow("fox", None, Side.QUERY, "Find it:")) == "Find it: fox."
    assert prompted_text(EncoderRow(None, b"image", Side.CANDIDATE)) == ""


def test_only_rows_with_text_are_tokenized_and_only_rows_with_an_image_decoded(encoder):
    features = encoder.preprocess([CAT, FOX, CAT])
    assert features["modality"].tolist() == [1, 0, 1]
    assert features["text_rows0"].tolist() == [1] and features["image_rows"].tolist() == [0, 2]
    assert features["pixels"].dtype == torch.uint8


def test_texts_are_padded_to_the_longest_of_their_group_only(encoder):
    short, longer = "fox", "the capital of France is Paris and more than that"
    features = encoder.preprocess([EncoderRow(text, None, Side.CANDIDATE) for text in (longer, short, longer, short)])
    assert features["tokens0"].shape[1] < features["tokens1"].shape[1] <= encoder.preprocess.tokenizer.context_length
    assert features["text_rows0"].tolist() == [1, 3]


@pytest.mark.parametrize("text", [None, "", "  \n"])
def test_a_row_with_neither_text_nor_image_is_an_error(encoder, text):
    with pytest.raises(InputError, match="neither text nor image"):
        encoder.preprocess([FOX, EncoderRow(text, None, Side.CANDIDATE)])


def test_a_broken_image_is_an_error_that_says_which(encoder):
    with pytest.raises(InputError, match=r"a candidate with text 'a red fox'.*can't be read"):
        encoder.preprocess([EncoderRow("a red fox", jpeg()[:100], Side.CANDIDATE)])


def test_the_same_global_seed_gives_the_same_weights(tmp_path):
    from lit_mmembed.encoders.pretrained import weights_hash

    hashes = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        hashes.append(weights_hash(own_small(tmp_path)))
    assert hashes[0] == hashes[1] != hashes[2]


def one_modality_per_process(rank, folder):
    """Process 0 sees texts, process 1 images: without care DDP waits for ever for the other tower's gradients."""
    torch.manual_seed(0)
    encoder = DistributedDataParallel(own_small(folder).train())
    for _ in range(2):  # two steps, summed: DDP notices a missing gradient in the second
        encoder(encoder.module.preprocess([[FOX], [CAT]][rank]))[:, 0].sum().backward()
    return {name: p.grad for name, p in encoder.module.named_parameters() if p.requires_grad}


def test_processes_with_different_modalities_do_not_hang_and_average_their_gradients(tmp_path):
    torch.manual_seed(0)
    own_small(tmp_path)  # leaves config and tokenizer for the processes
    first, second = in_processes(2, one_modality_per_process, tmp_path / "p", tmp_path)
    torch.manual_seed(0)
    alone = own_small(tmp_path).train()
    for row in (FOX, CAT):
        alone(alone.preprocess([row]))[:, 0].sum().backward()
    for name, parameter in alone.named_parameters():
        if parameter.requires_grad:
            assert torch.equal(first[name], second[name])
            torch.testing.assert_close(first[name], parameter.grad, atol=1e-6, rtol=1e-4)


def test_a_mixed_batch_uses_every_row(encoder):
    rows = mixed_rows(6)
    full = encoder(encoder.preprocess(rows))
    for index in range(len(rows)):
        rest = rows[:index] + rows[index + 1 :]
        kept = [i for i in range(len(rows)) if i != index]
        torch.testing.assert_close(encoder(encoder.preprocess(rest)), full[kept], atol=1e-5, rtol=0)
