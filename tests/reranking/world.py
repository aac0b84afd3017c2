"""Questions of every task, and transformers' own answer to one of them at a time."""

from __future__ import annotations

import io
from functools import cache

import torch

from lit_mmembed.data.tasks import MBEIR_TASKS
from lit_mmembed.reranking.llava import LlavaReranker
from lit_mmembed.reranking.prompts import Questions, chat_template, reranking_question
from lit_mmembed.reranking.true_false import answers_of, tokenize
from lit_mmembed.types import Modality, Sample, Task
from tests.encoders.small import jpeg
from tests.encoders.small_mllm import llava_folder
from tests.encoders.test_llava_next import processor, reference

TEXTS = ("two red cats on a mat", "a fox", "the capital of France is Paris", "an old clock, at noon")
SIZES = ((32, 32), (64, 40), (30, 100), (17, 90))


def sample(modality: Modality, number: int) -> Sample:
    """Make a query or document with the parts of a modality."""
    text = TEXTS[number % len(TEXTS)] if modality is not Modality.IMAGE else None
    image = jpeg(number, SIZES[number % len(SIZES)]) if modality is not Modality.TEXT else None
    return Sample(f"9:{number}", text, image, modality)


def questions_of(task: Task, count: int, start: int = 0) -> Questions:
    """Ask about `count` documents of the modality that a task asks for."""
    query = sample(task.query_modality, 40 + start)
    documents = [sample(task.candidate_modality, start + number) for number in range(count)]
    asked = tuple(reranking_question(task, query, document).prompt for document in documents)
    return Questions(f"query of {task.name}", asked, (False,) * count)


def every_task(count: int = 3) -> list[Questions]:
    """Ask about a query of each of the paper's 16 rows."""
    return [questions_of(task, count + place % 3, start=place) for place, task in enumerate(MBEIR_TASKS)]


@cache
def reranker(style: str = "bytes", any_resolution: bool = False, template: str = "none") -> LlavaReranker:
    """Load the small LLaVA-Next as a reranker."""
    return LlavaReranker(llava_folder(style), any_resolution=any_resolution, template=template).eval()  # type: ignore[arg-type]


@torch.no_grad()
def transformers_margin(prompt, style: str = "bytes", any_resolution: bool = False, template: str = "none") -> float:
    """Return the logits' difference by `LlavaNextForConditionalGeneration`, one question, its whole vocabulary."""
    from PIL import Image

    model, made = reference(style), processor(style)
    chosen = chat_template(template, made.tokenizer)  # type: ignore[arg-type]
    answers = answers_of(made.tokenizer, chosen, ["Is it? True or False"])
    text = chosen.render(prompt.text)
    if not prompt.images:
        ids = torch.tensor([[*tokenize(made.tokenizer, text), *answers.lead]])
        logits = model(input_ids=ids).logits[0, -1]
    else:
        pictures = [Image.open(io.BytesIO(image)).convert("RGB") for image in prompt.images]
        pixels = made.image_processor(pictures, return_tensors="pt")
        ids = _expanded(tokenize(made.tokenizer, text), pictures, any_resolution, made) + list(answers.lead)
        if any_resolution:
            given = {"pixel_values": pixels["pixel_values"], "image_sizes": pixels["image_sizes"]}
            logits = model(input_ids=torch.tensor([ids]), **given).logits[0, -1]
        else:
            logits = _whole_pictures(model, ids, pixels["pixel_values"][:, 0])
    return float(logits[answers.true] - logits[answers.false])


def _expanded(ids, pictures, any_resolution, made):
    """Repeat each image's token as often as transformers' processor does."""
    token = made.tokenizer.convert_tokens_to_ids("<image>")
    whole = (made.image_processor.crop_size["height"] // made.patch_size) ** 2 + 1
    counts = [
        int((made(text="<image>", images=picture, return_tensors="pt")["input_ids"] == token).sum())
        if any_resolution
        else whole
        for picture in pictures
    ]
    left = iter(counts)
    return [one for unit in ids for one in ([unit] * next(left) if unit == token else [unit])]


def _whole_pictures(model, ids, pixels):
    """Embed pictures of one tile each, which transformers' own forward never does, with its modules one by one."""
    body = model.model
    states = body.vision_tower(pixels, output_hidden_states=True).hidden_states[-2][:, 1:]
    projected = body.multi_modal_projector(states)
    newline = body.image_newline.expand(len(projected), 1, -1)
    tokens = torch.tensor([ids])
    embedded = model.get_input_embeddings()(tokens)
    embedded[tokens == model.config.image_token_id] = torch.cat([projected, newline], dim=1).flatten(0, 1)
    return model(inputs_embeds=embedded, attention_mask=torch.ones_like(tokens)).logits[0, -1]


class Killed(BaseException):
    """The process ended here."""


def dies_after(passes: int, patch) -> list[int]:
    """Let the passes of the language model after the first few raise; return a count of them."""
    count = [0]
    margins = LlavaReranker.margins

    def counted(self, prepared):
        if count[0] == passes:
            raise Killed
        count[0] += 1
        return margins(self, prepared)

    patch.setattr(LlavaReranker, "margins", counted)
    return count
