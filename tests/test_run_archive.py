"""A run as one file: every command reads it as the folder, and nothing writes to it."""

import json
import zipfile

import pytest

from motegpt import GPT
from motegpt.errors import RunFolderError
from motegpt.page.boot import run_of
from motegpt.training.run_archive import archive_run
from motegpt.training.run_files import ARCHIVED
from motegpt.training.run_folder import RunFolder
from motegpt.views.runs import Run
from tests.attacks.forge import make_run

FULL = {"kneser_ney": 3, "ngram_orders": 3, "ngram_min_count": 1, "novel": True, "n": 3}


@pytest.fixture(scope="module", params=["plain", "full"])
def both(request, tmp_path_factory):
    """A run as a folder, and as one file."""
    room = tmp_path_factory.mktemp("runs")
    run = make_run(room, **(FULL if request.param == "full" else {}))
    archive_run(RunFolder(run), room / "run.motegpt")
    return run, room / "run.motegpt"


def test_it_is_a_plain_zip_of_what_can_be_used(both):
    run, file = both
    with zipfile.ZipFile(file) as archive:
        assert archive.testzip() is None
        names = archive.namelist()
        assert set(names) == {path.name for path in run.iterdir()} & set(ARCHIVED)
        for name in set(names) - {"model.safetensors", "config.json"}:
            assert archive.read(name) == (run / name).read_bytes()


def _contents(file):
    with zipfile.ZipFile(file) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


@pytest.mark.parametrize("way", ["export", "save", "again"])
def test_it_names_no_folder(tmp_path, way, motegpt):
    make_run(tmp_path)
    (tmp_path / "other.txt").write_text("nan\nbab\n")
    tuned = tmp_path / "tuned"
    model = GPT.load(tmp_path / "run").fine_tune(tmp_path / "other.txt", out=tuned, seconds=0.1)
    assert str(tmp_path) in (tuned / "config.json").read_text()
    assert str(tmp_path) in (tuned / "settings.toml").read_text()
    assert str(tmp_path) not in json.dumps(run_of(Run.read(str(tuned))))  # nor does the page
    file = tmp_path / "tuned.motegpt"
    if way == "export":
        archive_run(RunFolder(tuned), file)
    else:
        (model if way == "save" else GPT.load(tuned)).save(file)
    for name, contents in _contents(file).items():
        assert str(tmp_path).encode() not in contents, name
    config = RunFolder(file).config()
    assert (config.source.path, config.base.path) == ("other.txt", "run")
    shown = motegpt("show", file, "-n", "0")
    assert "data        other.txt, 2 documents" in shown.out
    assert "base        run" in shown.out


def test_it_names_no_folder_of_a_tokenizer_or_of_further_files():
    config = GPT.train(["anna", "bob"], steps=1, preset="microgpt", engine="array").config
    data = config.data.replace(tokenizer="file", tokenizer_file=r"C:\Users\me\tokenizer.json")
    source = config.source.replace(path="/home/me/a.txt", others=("/home/me/b.txt", "c.txt", "/"))
    public = config.replace(data=data, source=source).without_folders()
    assert public.data.tokenizer_file == "tokenizer.json"
    assert public.source.paths == ("a.txt", "b.txt", "c.txt", "unnamed")
    assert public.without_folders() == public


def test_unpacked_it_is_a_run_folder(both, tmp_path, motegpt):
    run, file = both
    with zipfile.ZipFile(file) as archive:
        archive.extractall(tmp_path / "unpacked")
    assert GPT.load(tmp_path / "unpacked").generate(3, seed=1) == GPT.load(file).generate(3, seed=1)
    done = motegpt("train", run.parent / "list.txt", "--resume", tmp_path / "unpacked")
    assert "cannot be resumed: it has no trainer.safetensors" in done.err


def test_the_parameters_are_aligned_views_of_the_file(both):
    run, file = both
    views = GPT.load(file).engine.parameters()
    expected = GPT.load(run).engine.parameters()
    assert list(views) == list(expected)
    for name, view in views.items():
        assert not view.flags.owndata
        assert not view.flags.writeable
        assert view.flags.aligned
        assert (view == expected[name]).all()
    with zipfile.ZipFile(file) as archive:
        (member,) = (one for one in archive.infolist() if one.filename == "model.safetensors")
    assert member.compress_type == zipfile.ZIP_STORED


def test_the_same_run_gives_the_same_bytes(both, tmp_path):
    run, file = both
    archive_run(RunFolder(run), tmp_path / "again.motegpt")
    archive_run(RunFolder(file), tmp_path / "copy.motegpt")
    assert (tmp_path / "again.motegpt").read_bytes() == file.read_bytes()
    assert (tmp_path / "copy.motegpt").read_bytes() == file.read_bytes()


COMMANDS = [
    ["sample", "RUN", "-n", "3", "--seed", "4"],
    ["sample", "RUN", "-n", "3", "--seed", "4", "--engine", "array", "--format", "jsonl"],
    ["score", "RUN", "anna", "bob"],
    ["eval", "RUN", "--json", "--training", "LIST"],
    ["graph", "an", "--run", "RUN", "--summary", "--json"],
]


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words))
def test_every_command_reads_it_as_the_folder(both, words, motegpt):
    outputs = []
    for run in both:
        paths = {"RUN": str(run), "LIST": str(run.parent / "list.txt")}
        done = motegpt(*(paths.get(word, word) for word in words))
        assert done.code == 0, done.err
        outputs.append(done.out.replace(str(run), "RUN").replace("run.motegpt", "run"))
    assert outputs[0] == outputs[1]


def test_show_describes_it(both, motegpt):
    of_folder, of_file = (json.loads(motegpt("show", run, "--json").out) for run in both)
    size = both[1].stat().st_size
    assert of_file.pop("files") == {"run.motegpt": size}
    assert not of_file["progress"].pop("resumable")
    del of_folder["files"], of_folder["progress"]["resumable"]
    for key in (
        "step",
        "finished",
        "best",
        "exhausted",
    ):  # of_folder has read them in the state of the trainer
        del of_file["progress"][key], of_folder["progress"][key]
    of_folder["source"]["path"] = "list.txt"
    assert of_file | {"run": ""} == of_folder | {"run": ""}
    assert "cannot be resumed" in " ".join(motegpt("show", both[1]).out.split())


def test_pictures_and_the_page_read_it(both, tmp_path, motegpt):
    for run in both:
        out = tmp_path / run.name.replace(".", "-")
        plot, play = ["plot", run, "--no-baselines"], ["play", run]
        for words in ([*plot, "--out", f"{out}.svg"], [*play, "--out", f"{out}.html"]):
            done = motegpt(*words)
            assert done.code == 0, done.err
    sizes = [(tmp_path / name).stat().st_size for name in ("run.svg", "run-motegpt.svg")]
    assert abs(sizes[0] - sizes[1]) < 100


def test_it_is_read_only(both, motegpt, tmp_path):
    _, file = both
    before = file.read_bytes()
    for words in (["train", "--resume", str(file)], ["train", "--resume", str(file), "--steps", "9"]):
        done = motegpt(*words)
        assert "cannot be resumed: it is read-only" in done.err
        assert "resume the run folder that it was made from" in done.err
    with pytest.raises(RunFolderError, match="cannot be resumed"):
        GPT.train(resume=file)
    with pytest.raises(RunFolderError, match="cannot be resumed"):
        RunFolder(file).lock()
    for words in (["--out", str(file)], ["--out", str(file), "--overwrite"]):
        done = motegpt("train", "--steps", "2", *words)
        assert "expected a folder to write a run to" in done.err
    assert file.read_bytes() == before
    done = motegpt("train", "--steps", "2", "--out", str(tmp_path / "new.motegpt"))
    assert "got the name of a file" in done.err
    assert not (tmp_path / "new.motegpt").exists()


def test_it_has_one_checkpoint(both, motegpt):
    _, file = both
    for checkpoint in ("best", "last", "3"):
        done = motegpt("sample", str(file), "--checkpoint", checkpoint)
        assert "parameters of one checkpoint; leave out --checkpoint" in done.err


def test_a_checkpoint_can_be_chosen(tmp_path):
    run = make_run(tmp_path)
    model = GPT.train(tmp_path / "list.txt", out=tmp_path / "kept", steps=6, keep=3, checkpoint_every=2,
                      preset="microgpt", n_embd=4, n_head=2, block_size=6)  # fmt: skip
    archive_run(RunFolder(tmp_path / "kept"), tmp_path / "two.motegpt", checkpoint=2)
    two = GPT.load(tmp_path / "two.motegpt").engine.parameters()
    assert (two["wte"] == GPT.load(tmp_path / "kept", checkpoint=2).engine.parameters()["wte"]).all()
    assert (two["wte"] != model.engine.parameters()["wte"]).any()
    assert run.is_dir()


@pytest.mark.parametrize("preset", ["auto", "microgpt"])
def test_python_and_the_command_line_write_the_same(tmp_path, motegpt, preset):
    documents = [f"{a}n{b}{c}" for a in "abcdefg" for b in "aeiou" for c in "nmrtlk"]
    given = {"seconds": 0.1} if preset == "auto" else {"steps": 12, "log_every": 5}
    model = GPT.train(documents, preset=preset, engine="array", out=tmp_path / "run", **given)
    motegpt("export", tmp_path / "run", "--to", "file", "--out", tmp_path / "line.motegpt")
    GPT.load(tmp_path / "run").export(tmp_path / "export.motegpt", to="file")
    GPT.load(tmp_path / "run").save(tmp_path / "save.motegpt")
    GPT.load(tmp_path / "line.motegpt").save(tmp_path / "again.motegpt")
    model.save(tmp_path / "trained.motegpt")
    expected = _contents(tmp_path / "line.motegpt")
    assert ("report.json" in expected) == ("settings.toml" in expected) == (preset == "auto")
    for name in ("export", "save", "again", "trained"):
        assert _contents(tmp_path / f"{name}.motegpt") == expected, name


def test_a_run_that_went_on_says_nothing_about_a_model_loaded_before(tmp_path):
    GPT.train(["anna", "bob"], steps=2, preset="microgpt", engine="array", out=tmp_path / "run")
    before = GPT.load(tmp_path / "run")
    assert before._run()[0] == 2
    GPT.train(["anna", "bob"], resume=tmp_path / "run", steps=4)
    before.save(tmp_path / "before.motegpt")
    GPT.load(tmp_path / "run").save(tmp_path / "after.motegpt")
    steps = [len(RunFolder(tmp_path / f"{name}.motegpt").metrics()) for name in ("before", "after")]
    assert steps == [0, len(RunFolder(tmp_path / "run").metrics())]
    assert before._portable().records == []
    assert before._run() == (None, str(tmp_path / "run"))


def test_a_model_is_saved_to_one_file(tmp_path):
    model = GPT.train(["anna", "bob"], steps=3, preset="microgpt", engine="array")
    model.save(tmp_path / "deep" / "a.motegpt")
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["a.motegpt"]
    loaded = GPT.load(tmp_path / "deep" / "a.motegpt")
    assert loaded.generate(3, seed=2) == model.generate(3, seed=2)
    with pytest.raises(RunFolderError, match=r"already exists; .* `overwrite=True`"):
        model.save(tmp_path / "deep" / "a.motegpt")
    loaded.save(tmp_path / "deep" / "a.motegpt", overwrite=True)
    assert loaded.generate(2, seed=2) == GPT.load(tmp_path / "deep" / "a.motegpt").generate(2, seed=2)


def test_only_runs_are_overwritten(tmp_path):
    model = GPT.train(["anna", "bob"], steps=3, preset="microgpt", engine="array")
    (tmp_path / "letter.motegpt").write_text("dear")
    (tmp_path / "folder.motegpt").mkdir()
    (tmp_path / "folder.motegpt" / "letter").write_text("dear")
    for name in ("letter", "folder"):
        with pytest.raises(RunFolderError, match=r"something else|other files"):
            model.save(tmp_path / f"{name}.motegpt", overwrite=True)
    assert (tmp_path / "letter.motegpt").read_text() == "dear"
    (tmp_path / "empty.motegpt").mkdir()
    model.save(tmp_path / "empty.motegpt")  # a folder of this name is a folder
    assert json.loads((tmp_path / "empty.motegpt" / "config.json").read_text())["engine"] == "array"
    assert GPT.load(tmp_path / "empty.motegpt").generate(1, seed=1) == model.generate(1, seed=1)


def test_other_files_are_no_runs(tmp_path, motegpt):
    (tmp_path / "a.zip").write_bytes(b"PK")
    done = motegpt("sample", str(tmp_path / "a.zip"))
    assert "expected a run folder or a file *.motegpt, got another file" in done.err
