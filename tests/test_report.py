"""Reports: figures that are right, a page that opens from disk, players that keep the position when switched."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

from frametx.audio.tags import Tags, write_tags
from frametx.audio.writer import StemWriter
from frametx.disagreement import Profile
from frametx.edit_list import EditList, Section, SongFacts, StemFile
from frametx.edit_list_file import write_edit_list
from frametx.errors import AudioError, UsageError
from frametx.finished_song import edit_list_path
from frametx.ledger import Ledger
from frametx.naming import Naming
from frametx.outputs import Stem
from frametx.provenance import TAG, Recipe, known_sha256
from frametx.report import find_results, finding_of, write_report
from frametx.report_figures import measure, mel_scale
from frametx.songs import SongFile

RATE = 44_100
SECONDS = 6


def write_result(folder, rate=RATE):
    """A song of a steady low tone and a voice from 2 to 4 s, and its true stems."""
    time = np.arange(SECONDS * rate) / rate
    voice = 0.25 * np.sin(2 * np.pi * 1000 * time) * ((time >= 2) & (time < 4))
    band = 0.25 * np.sin(2 * np.pi * 110 * time)
    as_int16 = {
        "instrumental": np.rint(band * 32767).astype(np.int16),
        "vocals": np.rint(voice * 32767).astype(np.int16),
    }
    (folder / "stems").mkdir(parents=True)
    for name, samples in as_int16.items():
        path = folder / "stems" / f"a <song>_{name.capitalize()}.flac"
        soundfile.write(path, np.stack([samples] * 2, axis=1), rate)
    soundfile.write(folder / "a <song>.flac", np.stack([sum(as_int16.values())] * 2, axis=1).astype(np.int16), rate)
    return folder


def profile() -> Profile:
    """Two models that disagree from 3 to 4 s."""
    n_frames = SECONDS * RATE // 1024
    spread = np.where(np.abs(np.arange(n_frames) * 1024 / RATE - 3.5) < 0.5, 0.1, 1e-6)
    return Profile(
        models=("v7", "v8"),
        start_seconds=0.0,
        frame_seconds=1024 / RATE,
        spread=spread,
        mix=np.ones(n_frames),
        vocals=np.stack([spread, spread * 2]),
    )


@pytest.fixture(scope="module")
def reported(tmp_path_factory):
    """A result, its report, and what was found."""
    folder = write_result(tmp_path_factory.mktemp("result"))
    (finding,) = find_results(folder / "stems", folder / "a <song>.flac")
    return write_report(finding, profile=profile(), elapsed_seconds=3.0)


def test_the_figures_are_those_of_the_files(reported):
    """Length, speed, peaks and residual are what was put into the files."""
    values = json.loads(reported.figures.read_text())
    assert values["seconds"] == SECONDS
    assert values["times_real_time"] == 2.0
    assert values["samples_not_exact"] == 0
    assert values["samples_at_full_scale"] == {"instrumental": 0, "vocals": 0}
    assert values["peaks"]["vocals"] == pytest.approx(0.25, abs=1e-3)
    (disputed,) = values["disagreement"]["ranges"]
    assert disputed["start_seconds"] <= 3.0
    assert disputed["end_seconds"] >= 4.0


def test_the_level_says_when_there_is_a_voice(reported):
    """A sine of amplitude 0.25 stands at -15.1 dB while it sounds, and silence far below."""
    levels = json.loads(reported.figures.read_text())["vocals_db_per_second"]
    assert len(levels) == SECONDS
    assert levels[2:4] == pytest.approx([-15.1, -15.1], abs=0.5)
    assert max(levels[0], levels[5]) < -60


def test_clipped_and_inexact_samples_are_counted(tmp_path):
    """Samples at full scale, and samples at which the stems miss the song, are counted one by one."""
    folder = write_result(tmp_path)
    path = folder / "stems" / "a <song>_Vocals.flac"
    samples, _ = soundfile.read(path, dtype="int16")
    samples[:7, 0] = 32767
    samples[100, 1] += 5
    soundfile.write(path, samples, RATE)
    stems = {stem: folder / "stems" / f"a <song>_{stem.label}.flac" for stem in Stem}
    figures = measure(stems, folder / "a <song>.flac")
    assert figures.n_clipped == {"instrumental": 0, "vocals": 7}
    assert figures.n_inexact == 8
    assert figures.residual == pytest.approx(32767 / 32768)


def write_lossy_result(folder, song_rate, form):
    """The same, with the stems in a format that has no such rate."""
    write_result(folder, song_rate)
    stems = {}
    for stem in Stem:
        lossless = folder / "stems" / f"a <song>_{stem.label}.flac"
        stems[stem] = lossless.with_suffix(f".{form}")
        samples, _ = soundfile.read(lossless, dtype="float32")
        with StemWriter(stems[stem], format=form, sample_rate=song_rate, channels=2, bit_depth=16) as writer:
            writer.write(samples.T)
            writer.finish()
        lossless.unlink()
    return folder / "a <song>.flac", stems


@pytest.mark.parametrize(("form", "song_rate", "rate"), [("opus", 44_100, 48_000), ("mp3", 22_050, 44_100)])
def test_stems_at_another_rate_are_measured_against_the_song_at_theirs(tmp_path, form, song_rate, rate):
    """Opus has 48 kHz alone, MP3 no 22 kHz: the song is resampled, and a lossy residual is small and not zero."""
    song, stems = write_lossy_result(tmp_path, song_rate, form)
    figures = measure(stems, song)
    assert (figures.sample_rate, figures.resampled_from) == (rate, song_rate)
    assert figures.seconds == pytest.approx(SECONDS, abs=1 / rate)
    assert 0 < figures.residual < 0.05


def test_the_page_says_that_a_song_was_resampled(tmp_path):
    """A residual against samples that are not the song's own is no more than that."""
    song, stems = write_lossy_result(tmp_path, 44_100, "opus")
    report = write_report(finding_of(song, stems), audio="link")
    assert "the song was resampled from 44100 Hz" in report.page.read_text("utf-8")


def test_a_tone_stands_at_its_place_on_the_mel_scale():
    """1000 Hz is 1000 mel; the whole scale to 22050 Hz has 3923."""
    power = np.zeros((1025, 3))
    power[round(1000 / 22050 * 1024)] = 1.0
    bands = mel_scale(power, RATE)
    assert np.argmax(bands[:, 0]) == pytest.approx(1000 / 3923 * 129 - 1, abs=1.5)


def test_the_page_needs_nothing_but_itself(reported):
    """Every source and link in the page is inside it."""
    text = reported.page.read_text("utf-8")
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert len(sources) >= 11
    assert all(source.startswith("data:") for source in sources)
    assert "@@" not in text
    assert "a &lt;song&gt;" in text
    assert "a <song>" not in text


def test_pictures_are_for_reports_alone():
    """Separating and redoing never import matplotlib."""
    script = "import sys, frametx.separator, frametx.rendering, frametx.cli; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=120).returncode == 0


def test_the_sheet_is_a_picture(reported):
    """The PNG can be read and is wide enough to be looked at."""
    from PIL import Image

    with Image.open(reported.sheet) as image:
        assert image.format == "PNG"
        assert image.width >= 1000


def test_a_title_may_hold_any_letters(tmp_path):
    """Dollars are no formula, and letters that no font has are no warning."""
    folder = write_result(tmp_path)
    for path in (folder / "stems").iterdir():
        path.rename(path.with_name(path.name.replace("a <song>", "Ca$h_{ $ong \\frac 🎵 歌")))
    (finding,) = find_results(folder / "stems", folder / "a <song>.flac")
    assert write_report(finding, audio="link").sheet.read_bytes().startswith(b"\x89PNG")


def test_a_name_that_is_no_text_is_reported_on(tmp_path):
    """Names are bytes: the page shows what it can, and its links lead to the files."""
    folder = write_result(tmp_path)
    name = "caf\udce9"
    try:
        song = (folder / "a <song>.flac").rename(folder / f"{name}.flac")
    except OSError:
        pytest.skip("this file system has no such names")
    for path in list((folder / "stems").iterdir()):
        path.rename(path.with_name(path.name.replace("a <song>", name)))
    (finding,) = find_results(folder / "stems", song)
    report = write_report(finding, audio="link")
    text = report.page.read_text("utf-8")
    assert "<h1>caf?</h1>" in text
    assert 'src="../caf%E9.flac"' in text
    assert report.sheet.stat().st_size > 1000


def test_a_report_that_fails_leaves_no_page(tmp_path):
    """By its page a report is known to be done: it comes last, and whole."""
    (finding,) = find_results(write_result(tmp_path) / "stems")
    (tmp_path / "out" / "a <song>.report.png").mkdir(parents=True)  # in the way of the sheet
    with pytest.raises(AudioError, match="cannot be written"):
        write_report(finding, tmp_path / "out", audio="link")
    assert not (tmp_path / "out" / "a <song>.report.html").exists()


def test_a_long_song_is_linked(tmp_path, monkeypatch):
    """Where sound would make the page too large, it plays the files beside it, unless it must be inside."""
    monkeypatch.setattr("frametx.report_audio.BUDGET_BYTES", 3 * SECONDS * 64_000 // 8 - 1)
    folder = write_result(tmp_path)
    (finding,) = find_results(folder / "stems", folder / "a <song>.flac")
    assert "data:audio/mp4" in write_report(finding, audio="embed").page.read_text("utf-8")
    text = write_report(finding).page.read_text("utf-8")
    assert "data:audio/mp4" not in text
    assert 'src="a%20%3Csong%3E_Vocals.flac"' in text
    assert 'src="../a%20%3Csong%3E.flac"' in text


def test_without_the_song_there_is_a_report_of_the_stems(tmp_path):
    """The song's own track and the residual are left out, and said to be unknown."""
    folder = write_result(tmp_path)
    (finding,) = find_results(folder / "stems" / "a <song>_Vocals.flac")
    report = write_report(finding, audio="link")
    assert json.loads(report.figures.read_text())["residual"] is None
    assert 'data-track="mix"' not in report.page.read_text("utf-8")


def test_stems_of_a_part_are_reported_without_the_song(tmp_path):
    """The ledger knows their song, which is longer: the page says why it has no residual."""
    folder = write_result(tmp_path) / "stems"
    song = tmp_path / "a <song>.flac"
    stems = {stem: folder / f"a <song>_{stem.label}.flac" for stem in Stem}
    recipe = Recipe(models=(), masks={"start_seconds": 1.0, "end_seconds": 2.0}, files={})
    for path in stems.values():
        samples, _ = soundfile.read(path, dtype="int16")
        soundfile.write(path, samples[RATE : 2 * RATE], RATE)
        write_tags(path, Tags(fields={TAG: (recipe.tag("00" * 32),)}), format="flac")
    Ledger(folder).finish(song, "00" * 32, stems, recipe)
    for finding in (*find_results(folder), finding_of(song, stems)):
        report = write_report(finding, audio="link")
        assert json.loads(report.figures.read_text())["seconds"] == 1.0
        assert "residual: the stems are of a part of the song" in report.page.read_text("utf-8")


def test_a_report_made_later_tells_what_was_redone(tmp_path):
    """As long as the edit list speaks of these very stems, not of some that were replaced since."""
    folder = write_result(tmp_path) / "stems"
    song = tmp_path / "a <song>.flac"
    stems = {stem: folder / f"a <song>_{stem.label}.flac" for stem in Stem}
    files = {stem: StemFile(path=path, sha256=known_sha256(path)) for stem, path in stems.items()}
    facts = SongFacts(path=song, sha256="00" * 32, sample_rate=RATE, channels=2, n_samples=SECONDS * RATE)
    sections = (Section(start_seconds=1.0, end_seconds=2.0),)
    write_edit_list(EditList(path=edit_list_path(song, folder), song=facts, base=files, stems=files, sections=sections))
    edits = finding_of(song, stems).edits
    assert edits is not None
    assert edits.sections == sections
    shutil.copy(stems[Stem.VOCALS], stems[Stem.INSTRUMENTAL])
    assert finding_of(song, stems).edits is None


def test_results_that_are_none_get_a_message(tmp_path):
    """A folder without stems, a missing file, a lonely stem, one song for many results."""
    with pytest.raises(AudioError, match="holds no stems"):
        find_results(tmp_path)
    with pytest.raises(AudioError, match="does not exist"):
        find_results(tmp_path / "nothing.flac")
    folder = write_result(tmp_path) / "stems"
    for path in list(folder.iterdir()):
        shutil.copy(path, folder / path.name.replace("a <song>", "b"))
    with pytest.raises(UsageError, match="2 songs"):
        find_results(folder, tmp_path / "a <song>.flac")
    (folder / "b_Instrumental.flac").unlink()
    with pytest.raises(AudioError, match="both stems"):
        find_results(folder / "b_Vocals.flac")


@pytest.mark.parametrize("length", [240, 250])
def test_a_result_with_a_long_name_is_found(tmp_path, length):
    """Names are cut in each file elsewhere: the song, the ledger or the edit list tells which files belong together."""
    folder = write_result(tmp_path) / "stems"
    song = (tmp_path / "a <song>.flac").rename(tmp_path / f"{'x' * length}.flac")
    stems = Naming().targets(SongFile(path=song), folder, Stem, "flac")
    for stem, path in stems.items():
        (folder / f"a <song>_{stem.label}.flac").rename(path)
    (named,) = find_results(folder, song)
    assert named.stems == stems
    Ledger(folder).finish(song, "00" * 32, stems, Recipe(models=(), masks={}, files={}))
    files = {stem: StemFile(path=path, sha256="11" * 32) for stem, path in stems.items()}
    facts = SongFacts(path=song, sha256="00" * 32, sample_rate=RATE, channels=2, n_samples=SECONDS * RATE)
    edits = EditList(path=edit_list_path(song, folder), song=facts, base=files, stems=files)
    write_edit_list(edits)
    for result in (folder, *stems.values(), edits.path):
        (finding,) = find_results(result)
        assert (finding.stems, finding.song, finding.edits) == (stems, song, edits)


@pytest.mark.parametrize("template", ["{artist}/{track}_{stem}", "{stem}/{track}"])
def test_a_result_in_folders_of_its_own_is_found(tmp_path, template):
    """The ledger and the edit list lie in the output folder, above the folders that a template or a tree made."""
    folder = write_result(tmp_path) / "stems"
    song = tmp_path / "a <song>.flac"
    output = tmp_path / "out"
    stems = Naming(template=template).targets(SongFile(path=song), output, Stem, "flac")
    for stem, path in stems.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        (folder / f"a <song>_{stem.label}.flac").rename(path)
    Ledger(output).finish(song, "00" * 32, stems, Recipe(models=(), masks={}, files={}))
    for path in stems.values():
        (finding,) = find_results(path)
        assert (finding.stems, finding.song, finding.edits) == (stems, song, None)
    files = {stem: StemFile(path=path, sha256=known_sha256(path)) for stem, path in stems.items()}
    facts = SongFacts(path=song, sha256="00" * 32, sample_rate=RATE, channels=2, n_samples=SECONDS * RATE)
    edits = EditList(path=edit_list_path(song, output, stems), song=facts, base=files, stems=files)
    write_edit_list(edits)
    for path in stems.values():
        assert find_results(path)[0].edits == edits
    assert finding_of(song, stems).edits == edits


FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--mute-audio"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    "--autoplay-policy=no-user-gesture-required",
)
TIMES = "return [...document.querySelectorAll('audio')].map(one => one.currentTime)"


@pytest.fixture(scope="module")
def browser():
    """A headless Chromium, driven by its own driver."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    if chromium is None or driver is None:
        pytest.skip("chromium and chromedriver are not installed")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    chrome.set_script_timeout(30)
    yield chrome
    chrome.quit()


@pytest.fixture
def page(browser, reported):
    """The report, opened from disk, its players ready."""
    browser.set_window_size(1280, 900)
    browser.get(reported.page.as_uri())
    ready = "return [...document.querySelectorAll('audio')].every(one => one.readyState === 4)"
    until(browser, ready)
    return browser


def until(browser, script: str, seconds: float = 20.0) -> None:
    """Wait until a script returns something true."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, seconds, poll_frequency=0.05).until(lambda one: one.execute_script(script))


def press(browser, key: str) -> None:
    from selenium.webdriver.common.action_chains import ActionChains

    ActionChains(browser).send_keys(key).perform()


def test_the_page_opens_from_disk_without_errors(page):
    """Nothing is logged, three players are ready and every picture of the chosen scale can be seen."""
    assert [entry for entry in page.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")] == []
    durations = page.execute_script("return [...document.querySelectorAll('audio')].map(one => one.duration)")
    assert durations == pytest.approx([SECONDS] * 3, abs=0.1)
    visible = """return [...document.images].filter(one =>
        one.complete && one.naturalWidth > 100 && one.getBoundingClientRect().height > 50).length"""
    assert page.execute_script(visible) == 4
    page.execute_script("document.querySelector('[data-scale=linear][role=radio]').click()")
    until(page, "return [...document.images].filter(one => one.getBoundingClientRect().height > 50).length === 4")


def test_switching_while_it_plays_keeps_the_position(page):
    """Another track is heard at once, and the clock goes on from where it was."""
    press(page, " ")
    until(page, "return document.querySelector('audio').currentTime > 0.5")
    script = """
        const [done] = [arguments[arguments.length - 1]], audio = [...document.querySelectorAll('audio')];
        const before = audio[0].currentTime, when = performance.now();
        document.querySelector('[data-track=vocals][role=radio]').click();
        const heard = audio.filter(one => !one.muted).map(one => one.dataset.track);
        setTimeout(() => done([before, audio[2].currentTime, (performance.now() - when) / 1000, heard]), 300);
    """
    before, after, elapsed, heard = page.execute_async_script(script)
    assert heard == ["vocals"]
    assert after - before == pytest.approx(elapsed, abs=0.2)
    assert max(page.execute_script(TIMES)) - min(page.execute_script(TIMES)) < 0.3


def test_the_keyboard_is_enough(page):
    """Space plays and pauses, digits choose, B goes back, arrows move."""
    press(page, " ")
    until(page, "return !document.querySelector('audio').paused")
    press(page, " ")
    assert page.execute_script("return [...document.querySelectorAll('audio')].every(one => one.paused)")
    heard = "return [...document.querySelectorAll('audio')].filter(one => !one.muted).map(one => one.dataset.track)"
    for key, track in (("2", "instrumental"), ("3", "vocals"), ("b", "instrumental"), ("1", "mix")):
        press(page, key)
        assert page.execute_script(heard) == [track]
    before = page.execute_script(TIMES)[0]
    press(page, "\ue014")  # arrow right
    until(page, f"return document.querySelector('audio').currentTime > {min(before + 4.5, SECONDS - 0.2)}")
    assert page.execute_script(TIMES) == pytest.approx([page.execute_script(TIMES)[0]] * 3, abs=0.05)


def test_a_click_into_a_picture_goes_there(page):
    """The middle of a spectrogram is the middle of the song, for all players."""
    from selenium.webdriver.common.by import By

    picture = next(one for one in page.find_elements(By.CSS_SELECTOR, ".time") if one.size["height"] > 50)
    page.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
    picture.click()
    until(page, f"return Math.abs(document.querySelector('audio').currentTime - {SECONDS / 2}) < 0.1")
    assert page.execute_script(TIMES) == pytest.approx([SECONDS / 2] * 3, abs=0.1)


def test_the_page_fits_a_phone(page):
    """At 390 pixels nothing is cut off and every button is large enough for a thumb."""
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        assert page.execute_script("return document.documentElement.scrollWidth") <= 390
        small = """return [...document.querySelectorAll('#player button')].filter(one =>
            one.getBoundingClientRect().height < 36 || one.getBoundingClientRect().right > 390).length"""
        assert page.execute_script(small) == 0
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
