"""The life of an index: made, queried, stopped, changed; equal results from API, command line and by hand."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from cprlib.data.container import decode
from cprlib.data.manifest import Manifest
from cprlib.data.parallel import WorkerKilled
from cprlib.data.video import write_video
from cprlib.evaluation.video_encoder import load_encoder
from cprlib.report.explorers.search import neighbours, search_figure
from cprlib.search import open_index, update_index
from cprlib.search import update as update_module
from cprlib.search.__main__ import main
from cprlib.search.index import default_index
from cprlib.search.query import search
from cprlib.search.shards import Vectors, best_of_each, read_vectors, to_merge, write_shard


@pytest.fixture(scope="module")
def run(small_run):
    return small_run / "infonce"


@pytest.fixture
def videos(toy_manifest, tmp_path):
    """Six videos, a text file with the suffix of a video, and a broken video."""
    folder = tmp_path / "videos"
    (folder / "deep").mkdir(parents=True)
    paths = Manifest.read(toy_manifest).table.path[::12].tolist()
    for number, path in enumerate(paths):
        shutil.copy(path, folder / ("deep" if number % 2 else "") / f"{number}.mp4")
    (folder / "text.mp4").write_text("no video")
    (folder / "broken.mp4").write_bytes(Path(paths[0]).read_bytes()[:700])
    return folder


def test_an_index_follows_its_folder(run, videos, tmp_path, monkeypatch):
    index, update = update_index(videos, run, tmp_path / "index", workers=1)
    assert len(index) == 6 and update[:3] == (8, 0, 0)
    assert {Path(path).name for path in update.problems} == {"text.mp4", "broken.mp4"}
    encoder = load_encoder(run)
    for _, row in index.videos.iterrows():
        kept, made = read_vectors(index.folder, row), encoder.vectors(row.path)
        assert np.allclose(kept.whole, made.whole, atol=1e-5) and np.allclose(kept.windows, made.windows, atol=1e-3)
        assert np.allclose(kept.seconds, made.seconds)

    (videos / "0.mp4").rename(videos / "moved.mp4")
    shutil.copy(videos / "2.mp4", videos / "copy.mp4")
    (videos / "4.mp4").unlink()
    write_video(videos / "deep/1.mp4", torch.zeros(6, 48, 64, 3, dtype=torch.uint8))
    looked = []
    monkeypatch.setattr(update_module, "_vectors", lambda path, **_: looked.append(path) or Vectors(*_zeros()))
    index, update = update_index(videos, run, tmp_path / "index", workers=1)
    assert [Path(path).name for path in looked] == ["1.mp4"]  # moved, copied and broken files are known
    names = {Path(path).name for paths in index.copies.values() for path in paths}
    assert names == {"moved.mp4", "copy.mp4", "2.mp4", "1.mp4", "3.mp4", "5.mp4"} and len(index) == 5
    found = search(index, videos / "deep/3.mp4", top=9)
    assert found[found.path.str.contains("2.mp4|copy")].copies.tolist() == [1] and len(found) == 4


def _zeros():
    return np.zeros(256, np.float32), np.zeros((1, 256), np.float16), np.zeros((1, 2), np.float32)


def test_a_stopped_index_is_resumed(run, videos, tmp_path, monkeypatch):
    real, seen = update_module._vectors, []

    def stop_at_the_fourth(path, **given):
        seen.append(path)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return real(path, **given)

    monkeypatch.setattr(update_module, "_vectors", stop_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        update_index(videos, run, tmp_path / "index", workers=1)
    assert len(open_index(tmp_path / "index")) == 3
    monkeypatch.setattr(update_module, "_vectors", lambda path, **given: seen.append(path) or real(path, **given))
    index, update = update_index(videos, run, tmp_path / "index", workers=1)
    assert len(index) == 6 and update.known == 3 and seen.count(seen[0]) == 1


def test_command_line_and_api_give_the_ranking_computed_by_hand(run, videos, tmp_path, capsys):
    out, query = str(tmp_path / "index"), str(videos / "2.mp4")
    main(["query", str(videos), query, "--run", str(run), "--out", out, "--json", "--workers", "1"])
    told = json.loads(capsys.readouterr().out.split("s left\n")[-1])
    index = open_index(out)
    whole = load_encoder(run).embed([*index.videos.path])
    dots = (whole @ whole[index.videos.path.tolist().index(query)]).tolist()
    expected = sorted(zip(dots, index.videos.path, strict=True), reverse=True)[1:]  # the first is the query itself
    assert [row["path"] for row in told] == [path for _, path in expected]
    assert [row["similarity"] for row in told] == pytest.approx([dot for dot, _ in expected], abs=1e-4)
    assert [np.mean([row["rgb"], row["flow"]]) for row in told] == pytest.approx([dot for dot, _ in expected], abs=1e-4)
    asked = f"from cprlib.search.__main__ import main; main(['query', {out!r}, {query!r}]); import sys"
    subprocess.run([sys.executable, "-c", f"{asked}; assert 'torch' not in sys.modules"], check=True)  # so it is quick
    main(["query", out, query, "--csv", "--top", "2"])
    assert capsys.readouterr().out.count("\n") == 3
    main(["query", out, query, "--html", str(tmp_path / "page.html")])
    page = (tmp_path / "page.html").read_text()
    assert page.count("data:image/webp;base64,") == 6 and "deep/3.mp4" in page and "http" not in page


def test_a_moment_is_found_in_a_longer_video(run, videos, tmp_path):
    first, second = (np.stack(list(decode(videos / name))) for name in ("0.mp4", "deep/5.mp4"))
    size = np.minimum(first.shape, second.shape)
    both = np.concatenate([x[:, : size[1], : size[2]] for x in (first, second)])
    write_video(tmp_path / "long.mp4", torch.from_numpy(both), fps=10.0, crf=5)
    write_video(tmp_path / "asked.mp4", torch.from_numpy(both[len(first) :]), fps=10.0, crf=5)
    shutil.copy(tmp_path / "long.mp4", videos / "long.mp4")
    index, _ = update_index(videos, run, tmp_path / "index", workers=1)
    found = search(index, tmp_path / "asked.mp4", at=1.0, top=3).set_index("path")
    best = found.loc[str(videos / "long.mp4")]
    assert best.start == pytest.approx(len(first) / 10 + 1.0, abs=0.5) and best["rank"] <= 2
    with pytest.raises(ValueError, match="has no second 99"):
        search(index, tmp_path / "asked.mp4", at=99)
    with pytest.raises(ValueError, match="view is 'sound'; this index has flow, rgb"):
        search(index, tmp_path / "asked.mp4", view="sound")


def test_an_index_of_other_networks_or_without_videos_is_refused(run, small_run, videos, tmp_path, capsys):
    update_index(videos, run, tmp_path / "index", workers=1)
    with pytest.raises(ValueError, match="made with other networks"):
        update_index(videos, small_run / "infonce_rgb", tmp_path / "index")
    with pytest.raises(ValueError, match="is an index of"):
        update_index(videos / "deep", run, tmp_path / "index")
    (tmp_path / "empty").mkdir()
    query = str(videos / "2.mp4")
    for arguments, told in (
        (["index", str(tmp_path / "empty"), "--run", str(run)], "no video in"),
        (["index", str(tmp_path / "new")], "give --run"),
        (["query", str(tmp_path / "nothing"), str(videos / "2.mp4")], "no index at"),
        (["query", str(tmp_path / "index"), str(tmp_path / "gone.mp4")], "is no file; correct the path"),
        (["query", str(tmp_path / "index"), str(videos)], "is a folder; query with one of its files"),
        (["query", str(tmp_path / "index"), query, "--html", query], "name the page to write"),
        (["query", str(tmp_path / "index"), query, "--top", "0"], "top is 0; ask for at least 1 video"),
        (
            ["query", str(tmp_path / "index"), query, "--run", str(small_run / "infonce_rgb")],
            "made with other networks",
        ),
        (["query", str(tmp_path / "index"), str(videos / "text.mp4")], r"text.mp4: cannot be read \(not a video\)"),
    ):
        with pytest.raises(SystemExit, match=told):
            main(arguments)


def test_a_table_of_videos_is_searched_like_their_folder(run, toy_manifest, videos, tmp_path, capsys):
    table, out = videos.parent / "mine.TSV", ["--run", str(run), "--out", str(tmp_path / "index")]
    table.write_text("\ufeffClass_name\tpath\nx\tvideos\\deep\\1.mp4\ny\tvideos/2.mp4\ny\tgone.mp4\n")
    main(["query", str(table), str(videos / "2.mp4"), *out, "--workers", "1"])
    told = capsys.readouterr().out
    assert "2 videos (2 new" in told and f"left out: {os.path.join('..', 'gone.mp4')}: it is not there" in told
    assert told.splitlines()[-1].split()[1] == "deep/1.mp4"
    index, update = update_index(toy_manifest, run, tmp_path / "whole", workers=1)
    assert len(index) == update.new == len(Manifest.read(toy_manifest).table)
    for content, message in (
        ("class_name\nx\n", "no column 'path'"),
        ("path\n", "no row"),
        ("path\nnowhere.mp4\n", "none of its videos exists, e.g. .*nowhere.mp4; correct the paths"),
    ):
        table.write_text(content)
        with pytest.raises(SystemExit, match=message):
            main(["index", str(table), *out])
    with pytest.raises(SystemExit, match="none.csv is not there; give a folder of videos, or a table"):
        main(["index", str(tmp_path / "none.csv"), *out])
    with pytest.raises(SystemExit, match="2.mp4 is neither a folder of videos nor a table"):
        main(["index", str(videos / "2.mp4"), *out])


def test_blocks_and_shards_equal_one_matrix_product(tmp_path, monkeypatch):
    monkeypatch.setattr("cprlib.search.shards.BLOCK", 7)
    draw, tables, videos = np.random.default_rng(0), [], []
    for shard, counts in {"a": (3, 9, 1), "b": (20, 2)}.items():
        found = [Vectors(draw.normal(size=4), draw.normal(size=(n, 4)), np.zeros((n, 2))) for n in counts]
        tables.append(write_shard(tmp_path, shard, found))
        videos += found
    table = pd.concat(tables, ignore_index=True).drop(index=1)  # one video was deleted
    query, alive = draw.normal(size=4).astype(np.float32), [0, 2, 3, 4]
    expected = [(videos[i].windows.astype(np.float16)[:, 1:3] @ query[1:3]).max() for i in alive]
    assert best_of_each(tmp_path, table, query, "windows", slice(1, 3)) == pytest.approx(expected, abs=1e-2)
    whole = [videos[i].whole @ query for i in alive]
    assert best_of_each(tmp_path, table, query, "whole", slice(None)) == pytest.approx(whole, abs=1e-4)
    assert to_merge(table, tmp_path) == [["a"]]  # 9 of its 13 windows are of the deleted video


def test_an_index_of_one_video_or_none(run, videos, tmp_path, capsys):
    (tmp_path / "one").mkdir()
    (tmp_path / "text").mkdir()
    shutil.copy(videos / "2.mp4", tmp_path / "one/пример №1.mp4")
    shutil.copy(videos / "text.mp4", tmp_path / "text")
    one, _ = update_index(tmp_path / "one", run, tmp_path / "index", workers=1)
    found = search(one, videos / "2.mp4")
    assert found.empty and list(found) == ["rank", "path", "similarity", "flow", "rgb", "start", "end", "copies"]
    main(["query", str(one.folder), str(videos / "2.mp4")])
    assert "no other video" in capsys.readouterr().out
    main(["query", str(one.folder), str(videos / "2.mp4"), "--json"])
    assert json.loads(capsys.readouterr().out) == []
    main(["query", str(one.folder), str(videos / "2.mp4"), "--html", str(tmp_path / "page.html")])
    main(["query", str(one.folder), str(videos / "2.mp4"), "--itself"])
    assert "пример №1.mp4" in capsys.readouterr().out
    none, _ = update_index(tmp_path / "text", run, tmp_path / "nothing", workers=1)
    with pytest.raises(ValueError, match="holds no video to search; 1 files are left out"):
        search(none, videos / "2.mp4")


def test_a_file_that_kills_its_reader_is_left_out(run, videos, tmp_path, monkeypatch):
    def killed(path, **given):
        raise WorkerKilled("it ends its process")

    monkeypatch.setattr(update_module, "_vectors", killed)
    index, _ = update_index(videos / "deep", run, tmp_path / "index", workers=1)
    assert set(index.problems.values()) == {"it ends its process"} and len(index.problems) == 3
    with pytest.raises(ValueError, match="index.json is a file; name a folder"):
        update_index(videos, run, tmp_path / "index/index.json/below", workers=1)


def test_a_damaged_index_names_the_file(run, videos, tmp_path):
    index, _ = update_index(videos / "deep", run, tmp_path / "index", workers=1)
    shard = next((tmp_path / "index/shards").glob("*.whole.npy"))
    for path in (shard, tmp_path / "index/videos.parquet", tmp_path / "index/index.json"):
        whole = path.read_bytes()
        wrong = json.dumps({"source": 3, "root": [], "encoder": None, "fingerprint": 4, "parts": {}}).encode()
        for content in (b"", whole[: len(whole) // 2], b"{}", wrong):
            path.write_bytes(content)
            with pytest.raises(ValueError, match=f"{path.name}.*(delete|is damaged)"):
                search(open_index(tmp_path / "index"), videos / "deep/1.mp4")
        path.write_bytes(whole)
    path.with_name("videos.parquet").unlink()
    path.with_name("videos.parquet").mkdir()
    with pytest.raises(ValueError, match="videos.parquet is damaged; delete"):
        open_index(tmp_path / "index")
    shard.unlink()
    with pytest.raises(ValueError, match="is gone; open the index again or, if that does not help, delete"):
        search(index, videos / "deep/1.mp4")


def test_a_folder_that_moved_keeps_its_index(run, videos, tmp_path, monkeypatch):
    monkeypatch.setenv("CPR_ROOT", str(tmp_path))
    made, _ = update_index(videos, run, workers=1)
    moved = videos.rename(tmp_path / "elsewhere")
    assert default_index(moved) == made.folder
    index, update = update_index(moved, run, workers=1)
    assert index.folder == made.folder == default_index(moved) and default_index(videos) != made.folder
    assert index.root == moved and len(index) == 6 and update.new == 0
    other, _ = update_index(moved, run.parent / "infonce_rgb", workers=1)  # a second index
    assert other.folder == default_index(moved, other.encoder()) == default_index(moved) != made.folder
    assert default_index(moved, index.encoder()) == made.folder
    (moved / "4.mp4").unlink()  # deleted after indexing
    found = neighbours(index, moved / "2.mp4", 5)
    assert str(moved / "4.mp4") in set(found["both"].path)
    search_figure(moved / "2.mp4", found)
