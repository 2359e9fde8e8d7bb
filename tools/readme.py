"""The README as it stands alone, where what is beside it in the repository is not."""

import re

FENCED = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
# Such as ![caption](docs/a.png), a line of its own, and [text](docs/a.md).
PICTURE = re.compile(r"^!\[[^\]]*\]\((?!\w+:)[^)]*\)\n+", re.MULTILINE)
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!\w+:|#)[^)]*\)")


def alone(text: str) -> str:
    """README without the pictures and links that lead into the repository.

    Parameters
    ----------
    text : str
        Markdown; code blocks stay as they are.
    """
    parts = FENCED.split(text)
    parts[::2] = [LINK.sub(r"\1", PICTURE.sub("", part)) for part in parts[::2]]
    return "".join(parts)
