from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from lit_mmembed import Retriever
from lit_mmembed.data.directory import DataDirectory
from lit_mmembed.data.instructions import Instructions
from lit_mmembed.data.reader import ShardReader
from lit_mmembed.encoders.adapters import Lora, is_adapter
from lit_mmembed.encoders.base import Encoder
from lit_mmembed.encoders.llava_next import LlavaNextBackbone
from lit_mmembed.encoders.mllm import MllmEncoder
from lit_mmembed.encoders.pretrained import save_encoder
from lit_mmembed.errors import InputError
from lit_mmembed.retrieval.store import Store
from lit_mmembed.types import EncoderRow, Side
from tests.encoders.initial_folders import checkpoint
from tests.encoders.small import jpeg, own_small
from tests.tiny import Tiny, done

ROWS = ["a red fox", {"image": jpeg(1)}, {"text": "two cats on a mat", "image": jpeg(2)}, {"text": "a clock"}]
AS_ENCODER_ROWS = [("a red fox", None), (None, jpeg(1)), ("two cats on a mat", jpeg(2)), ("a clock", None)]


def clip_sf(folder: Path) -> Encoder:
    return own_small(folder)


def llava_e(folder: Path) -> Encoder:
    return with_drawn_adapters(MllmEncoder(LlavaNextBackbone(checkpoint("llava_next", folder)), lora=Lora(r=2)))


def with_drawn_adapters(encoder: MllmEncoder) -> MllmEncoder:
    """As after training: the update is not zero."""
    for name, parameter in encoder.named_parameters():
        if is_adapter(name):
            torch.nn.init.normal_(parameter, std=0.05)
    return encoder


@pytest.fixture(scope="module", params=[clip_sf, llava_e], ids=lambda build: build.__name__)
def folder(request, tmp_path_factory) -> Path:
    """A model folder."""
    path = tmp_path_factory.mktemp("retriever")
    torch.manual_seed(0)
    save_encoder(request.param(path), path / "model", record={"seed": 7})
    return path / "model"


@pytest.fixture(scope="module")
def retriever(folder) -> Retriever:
    return Retriever.from_pretrained(folder)


def one_by_one(retriever: Retriever, side: Side, instructions: list[str | None]) -> torch.Tensor:
    """What the encoder makes of each row alone."""
    encoder = retriever.encoder
    rows = [EncoderRow(*row, side, asked) for row, asked in zip(AS_ENCODER_ROWS, instructions, strict=True)]
    with torch.no_grad():
        return torch.cat([encoder(encoder.preprocess([row])) for row in rows])


def test_importing_the_package_imports_no_torch():
    program = (
        "import sys, lit_mmembed; assert 'torch' not in sys.modules; lit_mmembed.Retriever; 'torch' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


def test_rows_come_back_in_their_order_as_float32_on_the_cpu(retriever):
    vectors = retriever.encode_candidates(ROWS)
    assert vectors.dtype == torch.float32 and vectors.device.type == "cpu" and not vectors.is_inference()
    torch.testing.assert_close(vectors, one_by_one(retriever, Side.CANDIDATE, [None] * 4), atol=1e-6, rtol=0)


@pytest.mark.parametrize("batch_tokens", [1, 20, 100_000])
def test_the_size_of_batches_changes_nothing(retriever, batch_tokens):
    vectors = retriever.encode_queries(ROWS, batch_tokens=batch_tokens)
    torch.testing.assert_close(vectors, one_by_one(retriever, Side.QUERY, [None] * 4), atol=1e-6, rtol=0)


def test_an_instruction_is_for_all_rows_or_one_for_each(retriever):
    for given, expected in (("Find it", ["Find it"] * 4), ([None, "Find it", "", None], [None, "Find it", "", None])):
        vectors = retriever.encode_queries(ROWS, instruction=given)
        torch.testing.assert_close(vectors, one_by_one(retriever, Side.QUERY, expected), atol=1e-6, rtol=0)


def test_no_rows_make_no_vectors(retriever):
    assert retriever.encode_queries([]).shape == (0, retriever.dimension)


def test_an_image_may_be_pillows_a_path_or_bytes(retriever, tmp_path):
    (tmp_path / "fox.jpg").write_bytes(jpeg(3))
    opened = Image.open(io.BytesIO(jpeg(3)))
    forms = [jpeg(3), str(tmp_path / "fox.jpg"), tmp_path / "fox.jpg", opened]
    vectors = retriever.encode_candidates([{"image": form} for form in forms] + [tmp_path / "fox.jpg", opened])
    torch.testing.assert_close(vectors, vectors[:1].expand(6, -1), atol=1e-6, rtol=0)


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "YCbCr", "F"])
def test_an_image_of_pillow_may_have_any_mode(retriever, mode):
    assert retriever.encode_candidates([Image.new(mode, (20, 12))]).isfinite().all()


def test_progress_is_shown_on_request(retriever, monkeypatch, capsys):
    monkeypatch.setattr("lit_mmembed.progress.SECONDS_BETWEEN_LINES", 0.0)
    retriever.encode_candidates(ROWS)
    assert capsys.readouterr().err == ""
    retriever.encode_candidates(ROWS, progress=True)
    assert "encode: 4 rows" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ({"txt": "a fox"}, "unknown key txt"),
        ({"text": ""}, "neither text nor image"),
        ({"text": None, "image": None}, "neither text nor image"),
        ("", "neither text nor image"),
        ({"text": 3}, "a text that is a int"),
        ({"image": 3}, "an image that is a int"),
        (None, "neither text nor image"),
        ({"image": "no/such.jpg"}, "no/such.jpg: row 2: the image does not exist"),
        ({"image": b"no image"}, "the image can't be read"),
    ],
)
def test_a_wrong_row_is_named_by_its_place_with_a_fix(retriever, row, says):
    with pytest.raises(InputError, match="row 2") as told:
        retriever.encode_candidates(["a fox", "a much longer text than the others", row])
    assert says in str(told.value) and "(fix: " in str(told.value)


def test_a_single_row_is_not_taken_for_a_list(retriever):
    for row in ("a red fox", {"text": "a red fox"}, Path("fox.jpg")):
        with pytest.raises(InputError, match="give a list of rows"):
            retriever.encode_queries(row)


def test_instructions_must_be_as_many_as_rows(retriever):
    with pytest.raises(InputError, match="3 instructions for 4 rows"):
        retriever.encode_queries(ROWS, instruction=["Find it"] * 3)


def test_an_unknown_task_or_dtype_is_refused(retriever, folder):
    with pytest.raises(InputError, match="cirr_task7"):
        retriever.encode_queries(ROWS, task="cirr")
    with pytest.raises(InputError, match="'int8' is unknown"):
        Retriever.from_pretrained(folder, dtype="int8")


def test_similarity_is_the_cosine_of_each_pair(retriever):
    queries, candidates = torch.randn(3, 5), torch.randn(4, 5)
    expected = [[float(q @ c / (q.norm() * c.norm())) for c in candidates] for q in queries]
    torch.testing.assert_close(retriever.similarity(queries, candidates), torch.tensor(expected))


def test_search_ranks_by_cosine_and_ties_by_position(retriever):
    candidates = torch.eye(4)[[0, 1, 1, 2]]
    found = retriever.search(2 * torch.eye(4)[[1, 2]], candidates, k=9)
    assert found.positions.tolist() == [[1, 2, 0, 3], [3, 0, 1, 2]]
    torch.testing.assert_close(found.scores, torch.tensor([[1.0, 1, 0, 0], [1, 0, 0, 0]]))
    assert retriever.search(candidates, candidates, k=1).positions.shape == (4, 1)


def test_a_saved_retriever_comes_back_with_its_vectors_and_record(retriever, folder, tmp_path):
    retriever.save_pretrained(tmp_path / "copy")
    again = Retriever.from_pretrained(tmp_path / "copy")
    assert torch.equal(again.encode_candidates(ROWS), retriever.encode_candidates(ROWS))
    assert (tmp_path / "copy/record.json").read_bytes() == (folder / "record.json").read_bytes()
    assert again.dimension == retriever.dimension and repr(again) == repr(retriever)


def test_bfloat16_is_near_float32(folder, retriever):
    half = Retriever.from_pretrained(folder, dtype="bfloat16")
    cosines = (half.encode_candidates(ROWS) * retriever.encode_candidates(ROWS)).sum(dim=1)
    assert cosines.min() > 0.99


def test_a_missing_folder_is_an_error_that_says_so(tmp_path):
    with pytest.raises(InputError, match="does not exist"):
        Retriever.from_pretrained(tmp_path / "nothing")


def test_a_name_on_the_hub_is_downloaded_with_prompts_and_loaded(folder, retriever, monkeypatch):
    asked = {}

    def snapshot(name: str, *, allow_patterns: list[str]) -> str:
        asked[name] = allow_patterns
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot)
    found = Retriever.from_pretrained("someone/retriever")
    assert torch.equal(found.encode_candidates(ROWS), retriever.encode_candidates(ROWS))
    assert {"*.json", "*.safetensors", "*.yaml"} <= set(asked["someone/retriever"])


@pytest.mark.parametrize("build", [clip_sf, llava_e])
def test_its_vectors_are_those_of_the_command_line(build, tiny: Tiny, tmp_path):
    torch.manual_seed(0)
    save_encoder(build(tmp_path), tmp_path / "model")
    flags = ("--dtype", "float32", "--prompts", "first", "--workers", 0)
    for side in ("queries", "candidates"):
        out = tmp_path / "stores" / side
        done("encode", "--model", tmp_path / "model", "--data", tiny.data / side / "test", "--out", out, *flags)
    stores = {side: Store(tmp_path / "stores" / side) for side in ("queries", "candidates")}
    retriever = Retriever.from_pretrained(tmp_path / "model")
    queries, instructions = samples(tiny.data, "queries")
    documents, _ = samples(tiny.data, "candidates")
    ours = {
        "queries": retriever.encode_queries(queries, instruction=instructions),
        "candidates": retriever.encode_candidates(documents),
    }
    for side, store in stores.items():
        np.testing.assert_allclose(ours[side].numpy(), np.asarray(store.vectors), atol=1e-6, rtol=0)


def samples(data: Path, side: str) -> tuple[list[dict], list[str | None]]:
    """The rows of a tiny split as a program would write them, and each query's first instruction."""
    directory = DataDirectory(data)
    reader = ShardReader(data / side / "test")
    found = [reader[row] for row in range(len(reader))]
    wordings = Instructions.load(data / "instructions.tsv")
    tasks = {task.name: task for task in directory.tasks}
    asked = [wordings.wordings(tasks[sample.task])[0] if sample.task else None for sample in found]
    return [{"text": sample.text, "image": sample.image} for sample in found], asked
