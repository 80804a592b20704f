from matplotlib.figure import Figure

from ppl_vae.cli.artifacts import save_figures


def test_a_site_with_a_slash_in_its_name_has_a_figure(tmp_path):
    (path,) = save_figures(tmp_path, {"calibration_vae/z": Figure()})
    assert path == tmp_path / "figures" / "calibration_vae.z.png"
    assert path.stat().st_size > 0
