"""Lines, messages and files of sensors, as they come and as they should not; and the dew point."""

from __future__ import annotations

import pytest

from cupola.watch.readings import dew_point, digitemp, numbers, unit_of, w1_slave


@pytest.mark.parametrize(
    ("line", "values"),
    [
        ("May 24 21:25:43 Sensor 0 C: 23.66 F: 74.59", {"0": 23.66}),
        ("Jan  3 01:05:09 Sensor 12 C: -10.50 F: 13.10", {"12": -10.5}),
        ("May 24 21:25:43 Sensor 0 C: 23.66 F: 94.59", None),  # a digit of it was garbled
        ("May 24 21:25:43 Sensor 0 C: 85.00 F: 185.00", None),  # it has lost its power
        ("May 24 21:25:43 Sensor 0 C: 23.6", None),
        ("ÿþ24 21:25:43 Sensor 0 C: 23.66 F: 74.59", None),
        ("", None),
    ],
)
def test_a_line_of_digitemp_is_a_temperature_or_nothing(line: str, values: dict[str, float] | None) -> None:
    assert digitemp(line) == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("23.5", {"temperature": 23.5}),
        ("-4\r", {"temperature": -4.0}),
        ("T: 21.5, H: 45.2", {"temperature": 21.5, "humidity": 45.2}),
        ("temperature=21.5;humidity=45 %;wind_speed:3", {"temperature": 21.5, "humidity": 45.0, "wind_speed": 3.0}),
        ('{"temperature": 21.5, "humidity": 45, "ok": true, "name": "roof"}', {"temperature": 21.5, "humidity": 45.0}),
        ('{"temperature": NaN}', None),
        ("{}", None),
        ("[" * 5000, None),
        ("{" * 5000, None),
        ("Booting...", None),
        ("T: ", None),
        ("T: 21.5 garbage", None),
        ("nan", None),
        ("1e999", None),
    ],
)
def test_a_message_is_numbers_with_names_or_nothing(text: str, values: dict[str, float] | None) -> None:
    assert numbers(text) == values


def test_a_1_wire_thermometer_counts_only_with_its_check_sum() -> None:
    good = "72 01 4b 46 7f ff 0e 10 57 : crc=57 YES\n72 01 4b 46 7f ff 0e 10 57 t=23125\n"
    assert w1_slave(good) == 23.125
    assert w1_slave(good.replace("YES", "NO")) is None
    assert w1_slave(good.replace("t=23125", "t=85000")) is None
    assert w1_slave("") is None


def test_values_have_the_unit_of_their_name() -> None:
    assert [unit_of(name) for name in ("temperature", "bme280_humidity", "pressure", "dew_point", "nonsense")] == ["°C", "%", "hPa", "°C", ""]
    assert unit_of("28-0316a2795bff", "°C") == "°C"


# hPa over water by °C, as in the steam tables of IAPWS (1997), the same in every handbook
_SATURATION = {0.01: 6.117, 5: 8.726, 10: 12.282, 20: 23.393, 25: 31.699, 30: 42.470}


@pytest.mark.parametrize(("air_c", "dew_c"), [(air_c, dew_c) for air_c in _SATURATION for dew_c in _SATURATION if dew_c <= air_c])
def test_the_dew_point_agrees_with_steam_tables_to_a_tenth_of_a_degree(air_c: float, dew_c: float) -> None:
    assert dew_point(air_c, 100 * _SATURATION[dew_c] / _SATURATION[air_c]) == pytest.approx(dew_c, abs=0.1)


def test_there_is_no_dew_point_where_the_formula_does_not_hold() -> None:
    assert [dew_point(*pair) for pair in ((-60.0, 50.0), (80.0, 50.0), (20.0, 0.0), (20.0, 110.0))] == [None] * 4
