"""Ask each address that README and docs link to whether it is there.

python tools/check_links.py

Needs the network, and so is no test. A site that refuses programs (401, 403, 405, 429) is told
and does not count as gone; one that does not answer is asked three times.
"""

import concurrent.futures
import re
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
REFUSED = (401, 403, 405, 406, 418, 429)
TRIES, PAUSE, PATIENCE = 3, 5, 30  # number, seconds, seconds


def main() -> None:
    """Exit with 1 if an address is gone."""
    places = addresses()
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = dict(zip(places, pool.map(answer, places), strict=True))
    for address, said in sorted(answers.items()):
        if said:
            print(f"{said}: {address} ({', '.join(sorted(places[address]))})")
    gone = [address for address, said in answers.items() if said.startswith("gone")]
    print(f"{len(places)} addresses, {len(gone)} gone")
    sys.exit(bool(gone))


def addresses() -> dict[str, set[str]]:
    """Each address with the pages that link to it; those in blocks of code are not links."""
    found: dict[str, set[str]] = {}
    for folder in (".", ".github", ".napari-hub", "benchmarks", "docs", "docs/*"):
        for page in ROOT.glob(f"{folder}/*.md"):
            text = re.sub(r"(?ms)^```.*?^```|`[^`\n]*`", "", page.read_text("utf-8"))
            for address in re.findall(r"\]\((https?://[^)\s]+)\)", text):
                found.setdefault(address, set()).add(page.relative_to(ROOT).as_posix())
    return found


def answer(address: str) -> str:
    """What is wrong with it: "" if nothing."""
    bare = address.partition("#")[0]
    request = urllib.request.Request(bare, headers={"User-Agent": "Mozilla/5.0 (link check)"})
    wrong = ""
    for attempt in range(TRIES):
        time.sleep(attempt * PAUSE)
        try:
            with urllib.request.urlopen(request, timeout=PATIENCE):
                return ""
        except urllib.error.HTTPError as error:
            if error.code in REFUSED:
                return f"refused, {error.code}"
            wrong = f"gone, {error.code}"
        except OSError as error:
            wrong = f"gone, {error}"
    return wrong


if __name__ == "__main__":
    main()
