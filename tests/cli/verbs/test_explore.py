"""`ppl-vae explore`: one page in the run; without Bokeh it says what to install before anything is done."""

import importlib.util

import pytest


def test_the_page_is_written(cli, run_copy):
    pytest.importorskip("bokeh", reason="pip install 'ppl-vae[explore]'")
    called = cli("explore", "run=run", "data=10", "chains=2", "num_particles=5", "format=json")
    assert called.code == 0, called.err
    (record,) = called.json
    assert (record["data"], record["site"]) == (10, "z")
    assert (run_copy / "explore.html").read_text(encoding="utf-8").startswith("<!doctype html>")


def test_without_the_package_nothing_is_done(cli, run_copy, monkeypatch):
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "bokeh" else there(name))
    called = cli("explore", "run=run")
    assert called.code == 2
    assert "pip install 'ppl-vae[explore]'" in called.err
    assert not (run_copy / "explore.html").exists()


@pytest.mark.parametrize("words", ["units=0", "chains=-1", "data=0", "num_particles=0", "save=npz", "site=y"])
def test_what_it_cannot_show_is_refused(cli, run_copy, words):
    pytest.importorskip("bokeh", reason="pip install 'ppl-vae[explore]'")
    called = cli("explore", "run=run", words)
    assert called.code in (1, 2)
    assert words.partition("=")[0] in called.err
    assert "Traceback" not in called.err
    assert not (run_copy / "explore.html").exists()
