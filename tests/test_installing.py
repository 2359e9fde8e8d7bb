"""The checks' own installer says to uv what a machine says to pip."""

import runpy
from pathlib import Path

import pytest

INSTALLER = runpy.run_path(str(Path(__file__).parents[1] / ".ci" / "install.py"))
settings, uv_settings = INSTALLER["settings"], INSTALLER["uv_settings"]


def test_nothing_is_said_of_a_machine_without_settings():
    assert settings("") == {}
    assert uv_settings({}) == ({"UV_INDEX_STRATEGY": "unsafe-best-match"}, [])


def test_the_environment_is_above_the_command_and_that_above_all_commands():
    listed = """\
:env:.find-links='/c'
download.timeout='1'
global.find-links='/a'
global.timeout='9'
install.find-links='/b'
install.timeout='8'
"""
    assert settings(listed) == {"find-links": "/c", "timeout": "8"}


def test_places_and_limits_are_handed_on():
    listed = r"""
global.extra-index-url='https://one.test/simple\nhttps://two.test/simple'
global.index-url='https://zero.test/simple'
global.find-links='/wheels\n/more'
global.constraint='/a.txt /b.txt'
global.progress-bar='off'
"""
    told, words = uv_settings(settings(listed))
    assert told["UV_DEFAULT_INDEX"] == "https://zero.test/simple"
    assert told["UV_INDEX"] == "https://one.test/simple https://two.test/simple"
    assert told["UV_FIND_LINKS"] == "/wheels,/more"
    assert words == ["--constraint", "/a.txt", "--constraint", "/b.txt"]


def test_what_uv_has_no_word_for_is_left_to_pip():
    with pytest.raises(ValueError, match="no-binary"):
        uv_settings({"no-binary": ":all:"})
    with pytest.raises(ValueError, match="another form"):
        settings("whatever")
