"""Do what `pip install` does, by uv: the same words, indexes and versions, in a fifth of the time.

Where pip is told something that uv would not follow, this ends with a message and installs
nothing, and it is pip's turn.
"""

import ast
import os
import subprocess
import sys
import tempfile

# What uv is told through its environment, by pip's name for it.
TOLD = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "no-index": "UV_NO_INDEX",
    "trusted-host": "UV_INSECURE_HOST",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
    "default-timeout": "UV_HTTP_TIMEOUT",
    "timeout": "UV_HTTP_TIMEOUT",
}
# What changes nothing of what is installed.
OF_PIP_ALONE = {
    "cache-dir", "disable-pip-version-check", "no-cache-dir", "no-color", "no-compile", "no-input",
    "no-python-version-warning", "prefer-binary", "progress-bar", "quiet", "retries",
    "root-user-action", "verbose",
}  # fmt: skip


def settings(listed: str) -> dict[str, str]:
    """What `pip config list` says of installing; the environment is above its command, above all.

    Raises
    ------
    ValueError
        A line is of another form.
    """
    by_section: dict[str, dict[str, str]] = {"global": {}, "install": {}, ":env:": {}}
    for line in filter(None, listed.splitlines()):
        name, equals, value = line.partition("=")
        section, dot, key = name.rpartition(".")
        if not equals or not dot:
            raise ValueError(f"pip's settings have a line of another form: {name}")
        if section in by_section:
            by_section[section][key] = str(ast.literal_eval(value))
    return by_section["global"] | by_section["install"] | by_section[":env:"]


def uv_settings(of_pip: dict[str, str]) -> tuple[dict[str, str], list[str]]:
    """The environment and words of uv that say what pip's settings say.

    Raises
    ------
    ValueError
        There is a setting that uv has no word for.
    """
    told = {"UV_INDEX_STRATEGY": "unsafe-best-match"}  # the best of all indexes, as pip
    words = []
    for key, value in of_pip.items():
        if key == "constraint":
            words += [word for path in value.split() for word in ("--constraint", path)]
        elif key in TOLD:
            several = "," if key == "find-links" else " "
            told[TOLD[key]] = several.join(value.split())
        elif key not in OF_PIP_ALONE:
            raise ValueError(f"pip's setting {key} is not uv's")
    return told, words


def main() -> int:
    """Install what the words say into the environment of this Python."""
    pip = [sys.executable, "-m", "pip"]
    config = subprocess.run([*pip, "config", "list"], check=True, stdout=subprocess.PIPE, text=True)
    try:
        told, words = uv_settings(settings(config.stdout))
    except ValueError as error:
        sys.exit(f"{error}: left to pip")
    with tempfile.TemporaryDirectory() as folder:  # uv is no part of what is tested
        subprocess.run([*pip, "install", "-q", "--target", folder, "uv"], check=True)
        uv = [os.path.join(folder, "bin", "uv"), "pip", "install", "--python", sys.executable]
        command = [*uv, "--no-progress", *words, *sys.argv[1:]]
        return subprocess.run(command, env=told | os.environ).returncode


if __name__ == "__main__":
    sys.exit(main())
