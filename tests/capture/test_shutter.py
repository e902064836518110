"""The forecast of a shutter's wear."""

from cupola.capture.shutter import Shutter, wear_notes

NEW = Shutter(0, 100_000, by_camera=True)


def test_a_short_interval_for_whole_nights_is_warned_about_with_a_forecast() -> None:
    (note,) = wear_notes(NEW, 30, None)
    assert "An exposure every 30 s wears out the shutter." in note
    assert "1,200 a night: 83 nights of a 100,000-shot shutter" in note


def test_what_is_left_is_counted_from_what_was_used() -> None:
    (note,) = wear_notes(Shutter(40_000, 100_000, by_camera=True), 30, None)
    assert note.endswith("50 of what is left. Intervals of 60 s or more, or longer exposures, spare it.")


def test_an_interval_of_a_minute_is_forecast_without_a_warning() -> None:
    assert wear_notes(NEW, 60, None) == ["600 a night: 166 nights of a 100,000-shot shutter, 166 of what is left."]


def test_a_series_shorter_than_a_night_is_not_forecast() -> None:
    assert wear_notes(NEW, 5, 100) == []
    assert wear_notes(NEW, 5, 2880) != []


def test_without_a_series_only_a_worn_shutter_is_told() -> None:
    assert wear_notes(NEW, None, None) == []
    (note,) = wear_notes(Shutter(81_234, 100_000, by_camera=False), None, None)
    assert note == "The shutter has opened 81,234 times, as Cupola counted; its maker gives it 100,000."


def test_a_shutter_beyond_its_life_has_nothing_left() -> None:
    notes = wear_notes(Shutter(120_000, 100_000, by_camera=True), 60, None)
    assert notes[1].endswith("0 of what is left.")
